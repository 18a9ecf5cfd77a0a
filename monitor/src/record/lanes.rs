//! Finding a byte among the next 16 by arithmetic on one number that holds them all.
//!
//! What is looked for is nearly always there, and then this is several times faster than a call to `memchr`,
//! which pays off from some dozens of bytes on and does the rest here.

use memchr::memchr;

/// How many bytes are looked at together.
pub(crate) const WIDTH: usize = size_of::<u128>();

/// The same byte in all lanes.
const fn all(byte: u8) -> u128 {
    u128::MAX / 255 * byte as u128
}

/// The place of the first lane with `byte`, or [`WIDTH`].
#[inline]
pub(crate) const fn first_equal(lanes: u128, byte: u8) -> usize {
    first_below(lanes ^ all(byte), 1)
}

/// The place of the first lane that is less than `limit` (at most 128), or [`WIDTH`].
///
/// The subtraction sets the high bit of each lane that is below the limit; a borrow from such a lane can set
/// bits of lanes above it, never below it, so the lowest one is right.
#[inline]
pub(crate) const fn first_below(lanes: u128, limit: u8) -> usize {
    let below = lanes.wrapping_sub(all(limit)) & !lanes & all(0x80);
    (below.trailing_zeros() / 8) as usize
}

/// Masks for the lowest n lanes. A table, because shifting a number of this width is a dozen instructions.
pub(crate) const LOWEST: [u128; WIDTH] = {
    let mut masks = [0; WIDTH];
    let mut lanes = 1;
    while lanes < WIDTH {
        masks[lanes] = masks[lanes - 1] << 8 | 0xff;
        lanes += 1;
    }
    masks
};

/// Whether one of the lanes in `mask` is less than `limit` (at most 128).
#[inline]
pub(crate) const fn any_below(lanes: u128, limit: u8, mask: u128) -> bool {
    // A borrow comes only from a lane that is itself below the limit, and the mask holds all lower lanes.
    lanes.wrapping_sub(all(limit)) & !lanes & all(0x80) & mask != 0
}

/// Where `byte` is in `text`.
#[inline]
pub(crate) fn find(text: &[u8], byte: u8) -> Option<usize> {
    match text.first_chunk() {
        Some(chunk) => match first_equal(u128::from_le_bytes(*chunk), byte) {
            WIDTH => memchr(byte, text),
            at => Some(at),
        },
        None => text.iter().position(|&other| other == byte),
    }
}

/// How many bytes of `text` come before the first one less than `limit` (at most 128).
#[inline]
pub(crate) fn until_below(text: &[u8], limit: u8) -> usize {
    if let Some(chunk) = text.first_chunk()
        && let at @ 0..WIDTH = first_below(u128::from_le_bytes(*chunk), limit)
    {
        return at;
    }
    text.iter().position(|&byte| byte < limit).unwrap_or(text.len())
}

/// What comes before the first `byte`, and what after.
#[inline]
pub(crate) fn split_once(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    match text.split_at_checked(find(text, byte)?)? {
        (before, [_, after @ ..]) => Some((before, after)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_same_as_a_loop() {
        // All bytes, at each distance, before and behind the width, with bytes around that could lead astray.
        for filler in [b'a', 0x7f, 0x80, 0x81, 0xff, b'"' + 1, b'=' - 1, b' ' + 1] {
            for length in 0..40 {
                for at in 0..=length {
                    for byte in [b'"', b'=', b' ', 0, 0x1d] {
                        let mut text = vec![filler; length];
                        if let Some(slot) = text.get_mut(at) {
                            *slot = byte;
                        }
                        let slow = text.iter().position(|&other| other == byte);
                        assert_eq!(find(&text, byte), slow, "{byte:#x} at {at} of {length} {filler:#x}");
                        let slow = text.iter().position(|&other| other <= b' ').unwrap_or(length);
                        assert_eq!(
                            until_below(&text, b' ' + 1),
                            slow,
                            "{byte:#x} at {at} of {length} {filler:#x}"
                        );
                    }
                }
            }
        }
    }
}
