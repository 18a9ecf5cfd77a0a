//! The kernel's hex: how `audit_log_untrustedstring` writes a string that holds a space, a quote or a byte
//! outside printable ASCII.

use bumpalo::Bump;

/// The bytes that `text` encodes, in `arena`. None when `text` is not the kernel's hex: pairs of upper-case
/// digits, at least one.
pub(crate) fn decode<'a>(text: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    if text.is_empty() || !text.iter().copied().all(is_digit) {
        return None;
    }
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let bytes = arena.alloc_slice_fill_iter(pairs.iter().map(|&[high, low]| digit(high) << 4 | digit(low)));
    Some(bytes)
}

const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

/// The value of an upper-case hex digit, without a branch: letters are 9 above their low nibble.
const fn digit(byte: u8) -> u8 {
    (byte & 15).wrapping_add(9 * (byte >> 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_only_what_the_kernel_writes() {
        let rows: &[(&str, &str, Option<&[u8]>)] = &[
            ("a space in a path", "2F746D702F782079", Some(b"/tmp/x y")),
            ("UTF-8", "6D792070726F6620C3A9", Some("my prof é".as_bytes())),
            ("not UTF-8", "FF00", Some(b"\xff\x00")),
            ("all digits", "0123456789ABCDEF", Some(b"\x01\x23\x45\x67\x89\xab\xcd\xef")),
            ("odd", "2F7", None),
            ("lower case", "2f", None),
            ("a word", "none", None),
            ("empty", "", None),
        ];
        let arena = Bump::new();
        for (name, text, want) in rows {
            assert_eq!(decode(text.as_bytes(), &arena), *want, "{name}");
        }
    }
}
