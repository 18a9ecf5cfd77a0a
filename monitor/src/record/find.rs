//! Finding bytes that are near.
//!
//! What ends a key or a value is some bytes away at most. `memchr` chooses at each call which of the
//! processor's instructions to use, and that choice takes longer than the search; so the search with the
//! instructions that every processor of the architecture has is called directly.

#[cfg(target_arch = "aarch64")]
use memchr::arch::aarch64::neon::memchr as native;
#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::memchr as native;
use wide::u8x16;

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

/// Sixteen bytes that are searched at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk(u8x16);

impl Chunk {
    /// The first bytes of a text; None when it has fewer.
    #[inline]
    pub(crate) fn starting(text: &[u8]) -> Option<Self> {
        text.first_chunk().map(|bytes| Self(u8x16::new(*bytes)))
    }

    /// The last so many bytes of the text that ends in `last`, with zeros behind.
    #[inline]
    pub(crate) fn ending(last: u128, bytes: usize) -> Self {
        Self(u8x16::new(shifted(last, bytes).to_le_bytes()))
    }

    /// The first `bytes` as a number, the first of them lowest.
    #[inline]
    pub(crate) fn first(self, bytes: usize) -> u128 {
        let all = u128::from_le_bytes(self.0.to_array());
        LOWEST.get(bytes).map_or(all, |mask| all & mask)
    }

    /// Which of the bytes are `byte`.
    #[inline]
    pub(crate) fn equal(self, byte: u8) -> Places {
        Places(self.0.simd_eq(u8x16::splat(byte)).to_bitmask())
    }

    /// Which of the bytes are `byte` or less.
    #[inline]
    pub(crate) fn at_most(self, byte: u8) -> Places {
        Places(self.0.min(u8x16::splat(byte)).simd_eq(self.0).to_bitmask())
    }
}

/// Some of the bytes of a [`Chunk`], a bit each, the first one lowest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places(u32);

impl Places {
    /// The first of them.
    #[inline]
    pub(crate) fn first(self) -> Option<usize> {
        (self.0 != 0).then_some(self.0.trailing_zeros() as usize)
    }

    /// Whether one of them comes before the first of the others, if there are others.
    #[inline]
    pub(crate) const fn any_before(self, others: Self) -> bool {
        let before = (others.0 & others.0.wrapping_neg()).wrapping_sub(1);
        self.0 & before != 0
    }
}

/// The last sixteen bytes of a text as a number, with zeros before a text that has fewer.
#[inline]
pub(crate) fn last(text: &[u8]) -> u128 {
    match text.last_chunk() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => text.iter().fold(0, |sum, byte| sum >> 8 | u128::from(*byte) << 120),
    }
}

/// Not inlined: with it inlined the compiler has all chunks pass through the integer registers.
#[inline(never)]
fn shifted(last: u128, bytes: usize) -> u128 {
    last.checked_shr(size_of::<u128>().saturating_sub(bytes) as u32 * 8).unwrap_or(0)
}

/// Masks for the lowest n bytes. A table, because shifting one is a dozen instructions.
#[expect(clippy::indexing_slicing, reason = "a mistake would not compile")]
const LOWEST: [u128; 16] = {
    let mut masks = [0; 16];
    let mut bytes = 1;
    while bytes < masks.len() {
        masks[bytes] = masks[bytes - 1] << 8 | 0xff;
        bytes += 1;
    }
    masks
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_says_where_its_bytes_are() {
        let chunk = Chunk::starting(b"name=\"/a b\" c=1 and more").unwrap();
        assert_eq!(chunk.equal(b'=').first(), Some(4));
        assert_eq!(chunk.equal(b'#').first(), None);
        assert_eq!(chunk.at_most(b' ').first(), Some(8));
        assert!(!chunk.at_most(b' ').any_before(chunk.equal(b'=')));
        assert!(chunk.at_most(b' ').any_before(chunk.equal(b'c')));
        assert_eq!(Chunk::starting(&[0xc3; 16]).unwrap().at_most(b' ').first(), None);
        assert_eq!(chunk.first(4), u128::from(u32::from_le_bytes(*b"name")));
    }

    #[test]
    fn the_end_of_a_text_is_a_chunk_with_zeros_behind() {
        for text in [&b"pid=7"[..], b"a longer one that ends in pid=7"] {
            let end = Chunk::ending(last(text), 5);
            assert_eq!(end.first(5).to_le_bytes().get(..5), Some(&b"pid=7"[..]));
            assert_eq!(end.at_most(b' ').first(), Some(5));
            assert_eq!(Chunk::ending(last(text), 0).at_most(0).first(), Some(0));
        }
        assert!(Chunk::starting(b"pid=7").is_none());
    }
}
