//! Numbers of bytes as people write them: `16MiB`.

use std::fmt;
use std::str::FromStr;

use bytesize::ByteSize;
use serde::{Serialize, Serializer};

/// A number of bytes.
///
/// Written with the largest binary unit that keeps it exact, so that what is printed reads back the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// `n` times 1024 bytes.
    pub const fn kibibytes(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1048576 bytes.
    pub const fn mebibytes(n: u64) -> Self {
        Self(n << 20)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The smallest power of two that is not less.
    pub fn next_power_of_two(self) -> Self {
        Self(self.0.checked_next_power_of_two().unwrap_or(1 << 63))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| "expected a number of bytes, such as 16MiB, 512KiB or 1048576".to_owned())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them_and_printed_exactly() {
        for (text, bytes, printed) in [
            ("0", 0, "0"),
            ("1", 1, "1"),
            ("1024", 1024, "1KiB"),
            ("16MiB", 16 << 20, "16MiB"),
            ("16 MiB", 16 << 20, "16MiB"),
            ("16mib", 16 << 20, "16MiB"),
            ("1.5KiB", 1536, "1536"),
            ("16MB", 16_000_000, "15625KiB"),
            ("2GiB", 2 << 30, "2GiB"),
        ] {
            let size: Size = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(size), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "MiB", "-1", "16Mi B", "sixteen", "1e6", "16 MiB of memory"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
