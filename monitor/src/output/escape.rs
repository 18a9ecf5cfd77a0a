//! Bytes that a confined program chose, made harmless for a label, a table or a log line.

use std::borrow::Cow;
use std::fmt::Write;

/// What ends a text that was cut.
const ELLIPSIS: &str = "…";

/// `bytes` as text in which nothing acts: no control characters, no escapes, no invisible or reordering
/// characters, at most `limit` bytes and an ellipsis when it had to be cut.
///
/// What is not harmless text stands as `\xNN`, byte by byte, and a backslash as two. So, unless it was cut,
/// the text can be turned back into the bytes, and different bytes never give the same text. Borrows, and
/// does no more than look, when there is nothing to do.
pub(crate) fn escape(bytes: &[u8], limit: usize) -> Cow<'_, str> {
    if bytes.is_empty() {
        return Cow::Borrowed("");
    }
    if bytes.len() <= limit
        && is_plain(bytes)
        && let Ok(text) = str::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len().min(limit) + ELLIPSIS.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let start = text.len();
            push_character(&mut text, character);
            if text.len() > limit {
                text.truncate(start);
                text.push_str(ELLIPSIS);
                return Cow::Owned(text);
            }
        }
        for byte in chunk.invalid() {
            if text.len() + 4 > limit {
                text.push_str(ELLIPSIS);
                return Cow::Owned(text);
            }
            push_byte(&mut text, *byte);
        }
    }
    Cow::Owned(text)
}

/// Whether all of it is printable ASCII but for the backslash. Looks at every byte, so that many are looked at at once.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (*byte != b'\\'))
}

fn push_character(text: &mut String, character: char) {
    match character {
        '\\' => text.push_str("\\\\"),
        character if acts(character) => {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                push_byte(text, byte);
            }
        }
        character => text.push(character),
    }
}

fn push_byte(text: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// Whether a terminal, browser or reader would do something with it other than show it.
///
/// Controls (C0, DEL, C1); then the invisible and the reordering ones of Unicode's category Cf, line and
/// paragraph separators, and tags, by which text can look like other text.
pub(super) fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_what_acts_is_spelt_out() {
        for (name, bytes, want) in [
            ("empty", &b""[..], ""),
            ("path", b"/usr/bin/my prog", "/usr/bin/my prog"),
            ("quotes and braces", br#"a"}{'b"#, r#"a"}{'b"#),
            ("letters of any script", "né 日本".as_bytes(), "né 日本"),
            ("backslash", br"a\b", r"a\\b"),
            ("a forged escape", br"\x1b", r"\\x1b"),
            ("terminal escape", b"\x1b[31m", r"\x1b[31m"),
            ("new line and tab", b"a\nb\tc", r"a\x0ab\x09c"),
            ("delete", b"\x7f", r"\x7f"),
            ("C1 control", "\u{9b}31m".as_bytes(), r"\xc2\x9b31m"),
            ("right-to-left override", "a\u{202e}b".as_bytes(), r"a\xe2\x80\xaeb"),
            ("zero width", "a\u{200b}b".as_bytes(), r"a\xe2\x80\x8bb"),
            ("line separator", "a\u{2028}b".as_bytes(), r"a\xe2\x80\xa8b"),
            ("not UTF-8", b"a\xff\xc3b", r"a\xff\xc3b"),
        ] {
            assert_eq!(escape(bytes, 64), want, "{name}");
        }
    }

    #[test]
    fn cuts_are_shown_and_never_split_a_character_or_an_escape() {
        for (name, bytes, want) in [
            ("at the limit", &b"12345678"[..], "12345678"),
            ("one past it", b"123456789", "12345678…"),
            ("in a character", "1234567é".as_bytes(), "1234567…"),
            ("in an escape", b"123456\xff", "123456…"),
            ("in a run of escapes", b"\xff\xff\xff", r"\xff\xff…"),
            ("in a doubled backslash", br"1234567\", "1234567…"),
        ] {
            assert_eq!(escape(bytes, 8), want, "{name}");
        }
    }

    #[test]
    fn common_text_is_borrowed() {
        assert!(matches!(escape(b"cri-containerd.apparmor.d", 256), Cow::Borrowed(_)));
    }

    #[test]
    fn every_pair_of_bytes_can_be_told_from_every_other() {
        let mut seen = std::collections::HashSet::new();
        for first in 1..=u8::MAX {
            for second in 1..=u8::MAX {
                assert!(seen.insert(escape(&[first, second], 64).into_owned()), "{first:#x} {second:#x}");
            }
        }
    }
}
