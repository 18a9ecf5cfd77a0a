//! `key=value` pairs of an audit record, one after the other, nothing copied.
//!
//! The kernel writes three kinds of value (`audit_log_format` and `audit_log_untrustedstring`,
//! kernel/audit.c): quoted text, bare text up to a space, and upper-case hex, which is bare too. Which bare
//! values are hex depends on the key, so the scanner leaves that to its caller.

use memchr::{memchr, memrchr};

/// A key's letters packed into a number, first letter highest, so that keys are told apart by a few integer
/// comparisons. 0 for a key longer than 16 bytes; no key that has a field of its own is that long.
pub(crate) const fn word(key: &[u8]) -> u128 {
    let mut packed = 0;
    let mut rest = key;
    if key.len() > MAX_PACKED {
        return 0;
    }
    while let [first, tail @ ..] = rest {
        packed = packed << 8 | *first as u128;
        rest = tail;
    }
    packed
}

/// How many letters fit into a [`word`].
const MAX_PACKED: usize = 16;

/// The one key whose value the kernel neither escapes nor encodes although the task chose it: 7.3 ends a
/// user namespace record with the path of the program, quotes and all.
const EXECPATH: u128 = word(b"execpath");

/// What auditd writes between the kernel's record and its own interpretation of the numbers in it
/// (`log_format = ENRICHED`). The kernel writes no such byte: it encodes strings that hold one.
const ENRICHMENT: u8 = 0x1d;

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Between quotes; without them here.
    Quoted(&'a [u8]),
    /// Up to the next space.
    Bare(&'a [u8]),
    /// A quoted value whose closing quote is missing: the line was cut.
    Cut(&'a [u8]),
}

/// One `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) key: &'a [u8],
    /// The key as a [`word`].
    pub(crate) word: u128,
    pub(crate) value: Value<'a>,
}

/// Reads fields off the front of a record.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
    /// Ended in the middle of a key: the line was cut.
    pub(crate) cut: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text, cut: false }
    }

    /// Takes the key and its `=` off the front; skips what is no key.
    fn key(&mut self) -> Option<(&'a [u8], u128)> {
        loop {
            let spaces = self.rest.iter().position(|&byte| !is_space(byte))?;
            self.skip(spaces);
            if self.rest.first() == Some(&ENRICHMENT) {
                self.rest = &[];
                return None;
            }
            let mut packed = 0;
            let mut stop = None;
            for (at, &byte) in self.rest.iter().enumerate() {
                if !is_key_byte(byte) {
                    stop = Some((at, byte));
                    break;
                }
                packed = packed << 8 | u128::from(byte);
            }
            match stop {
                Some((at, b'=')) if at > 0 => {
                    let (key, _) = self.rest.split_at_checked(at)?;
                    self.skip(at + 1);
                    return Some((key, if at > MAX_PACKED { 0 } else { packed }));
                }
                // Words between the fields (`avc:  denied`) and stray punctuation.
                Some((at, byte)) => {
                    let junk = memchr(b' ', self.rest).unwrap_or(self.rest.len());
                    self.skip(if byte == b' ' { at } else { junk });
                }
                None => {
                    self.cut = true;
                    self.rest = &[];
                    return None;
                }
            }
        }
    }

    fn value(&mut self, word: u128) -> Value<'a> {
        if let Some((b'"', quoted)) = self.rest.split_first() {
            let end = if word == EXECPATH { last_quote(quoted) } else { memchr(b'"', quoted) };
            let Some((value, tail)) = end.and_then(|end| quoted.split_at_checked(end)) else {
                self.rest = &[];
                return Value::Cut(quoted);
            };
            self.rest = tail;
            self.skip(1);
            return Value::Quoted(value);
        }
        let end = self.rest.iter().position(|&byte| is_space(byte) || byte == ENRICHMENT);
        let end = end.unwrap_or(self.rest.len());
        let (value, tail) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = tail;
        Value::Bare(value)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (key, word) = self.key()?;
        Some(Field { key, word, value: self.value(word) })
    }
}

/// Where the last quote of the kernel's part of the record is.
fn last_quote(text: &[u8]) -> Option<usize> {
    let end = memchr(ENRICHMENT, text).unwrap_or(text.len());
    memrchr(b'"', text.get(..end)?)
}

/// A space, or a control character such as the newline that a bus daemon leaves in its report.
const fn is_space(byte: u8) -> bool {
    byte <= b' ' && byte != ENRICHMENT
}

const fn is_key_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'_' | b'A'..=b'Z' | b'0'..=b'9' | b'-')
}

#[cfg(test)]
mod tests {
    use super::Value::{Bare, Cut, Quoted};
    use super::*;

    fn fields(text: &str) -> Vec<(String, Value<'_>)> {
        Scanner::new(text.as_bytes())
            .map(|field| (String::from_utf8_lossy(field.key).into_owned(), field.value))
            .collect()
    }

    fn want<'a>(rows: &[(&str, Value<'a>)]) -> Vec<(String, Value<'a>)> {
        rows.iter().map(|&(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn reads_each_way_of_writing_a_value() {
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, Value<'a>)]);
        let rows: &[Row<'_>] = &[
            ("quoted", r#"a="b c""#, &[("a", Quoted(b"b c"))]),
            ("bare", "pid=12 error=-13", &[("pid", Bare(b"12")), ("error", Bare(b"-13"))]),
            ("empty quoted", r#"a="" b=1"#, &[("a", Quoted(b"")), ("b", Bare(b"1"))]),
            ("empty bare", "a= b=1", &[("a", Bare(b"")), ("b", Bare(b"1"))]),
            ("two spaces, as before capname", "a=21  b=1", &[("a", Bare(b"21")), ("b", Bare(b"1"))]),
            (
                "no space after a quote, as before signal",
                r#"denied_mask="send"signal=unknown(65)"#,
                &[("denied_mask", Quoted(b"send")), ("signal", Bare(b"unknown(65)"))],
            ),
            (
                "equals sign in a value",
                r#"name="a=b" c=d=e"#,
                &[("name", Quoted(b"a=b")), ("c", Bare(b"d=e"))],
            ),
            (
                "a newline between fields",
                "a=\"1\"\n\t b=2\nc=3",
                &[("a", Quoted(b"1")), ("b", Bare(b"2")), ("c", Bare(b"3"))],
            ),
            ("words that are no fields", "avc:  denied  { read } for  pid=1", &[("pid", Bare(b"1"))]),
            ("stray equals signs", "= == =x pid=1", &[("pid", Bare(b"1"))]),
            ("cut in a value", r#"a="b"#, &[("a", Cut(b"b"))]),
            ("cut at the quote", r#"a=""#, &[("a", Cut(b""))]),
            ("what auditd adds", "ouid=0\u{1d}FSUID=\"otis\" OUID=\"root\"", &[("ouid", Bare(b"0"))]),
            (
                "what auditd adds behind an unescaped path",
                "execpath=\"/a\" x=\"\"\u{1d}UID=\"root\"",
                &[("execpath", Quoted(br#"/a" x=""#))],
            ),
            ("nothing", "", &[]),
            ("spaces", "   ", &[]),
            (
                "an executable's name that forges fields",
                r#"pid=7 execpath="/a" apparmor="ALLOWED" x="""#,
                &[("pid", Bare(b"7")), ("execpath", Quoted(br#"/a" apparmor="ALLOWED" x=""#))],
            ),
        ];
        for (name, text, wanted) in rows {
            assert_eq!(fields(text), want(wanted), "{name}");
        }
    }

    #[test]
    fn says_when_the_line_ends_in_a_key() {
        for (text, cut) in [("a=1 requested_", true), ("a=1", false), ("a=1 ", false)] {
            let mut scanner = Scanner::new(text.as_bytes());
            assert_eq!(scanner.by_ref().count(), 1, "{text}");
            assert_eq!(scanner.cut, cut, "{text}");
        }
    }

    #[test]
    fn packs_a_key_the_same_way_everywhere() {
        let mut scanner = Scanner::new(b"requested_mask=1 a_key_beyond_16_letters=2");
        assert_eq!(scanner.next().unwrap().word, word(b"requested_mask"));
        assert_eq!(scanner.next().unwrap().word, 0);
        assert_eq!(word(b"a_key_beyond_16_letters"), 0);
    }
}
