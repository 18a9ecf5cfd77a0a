//! Finding bytes that are near.
//!
//! What ends a key or a value is some bytes away at most. `memchr` chooses at each call which of the
//! processor's instructions to use, and that choice takes longer than the search; so the search with the
//! instructions that every processor of the architecture has is called directly.

#[cfg(target_arch = "aarch64")]
use memchr::arch::aarch64::neon::memchr as native;
#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::memchr as native;

/// Where `byte` is in `text`.
#[inline]
pub(crate) fn find(text: &[u8], byte: u8) -> Option<usize> {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    if let Some(one) = native::One::new(byte) {
        return one.find(text);
    }
    memchr::memchr(byte, text)
}

/// Where the first of three bytes is in `text`.
#[inline]
pub(crate) fn find_any(text: &[u8], [a, b, c]: [u8; 3]) -> Option<usize> {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    if let Some(three) = native::Three::new(a, b, c) {
        return three.find(text);
    }
    memchr::memchr3(a, b, c, text)
}

/// What comes before the first `byte`, and what after.
#[inline]
pub(crate) fn split_once(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    match text.split_at_checked(find(text, byte)?)? {
        (before, [_, after @ ..]) => Some((before, after)),
        _ => None,
    }
}
