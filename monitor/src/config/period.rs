//! A span of time as people write it: `10m`, `1h 30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A span of time, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text)
            .map_err(|_| "expected a time such as 30s, 10m or 1h".to_owned())?;
        Ok(Self(Duration::from_secs(span.as_secs())))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for (text, want) in [("600s", "10m"), ("1h 30m", "1h 30m"), ("1m30s", "1m 30s"), ("0s", "0s")] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()), Ok(want.to_owned()));
        }
        for text in ["", "10", "-1m", "soon"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
