//! `key=value` pairs of an audit record, one after the other, nothing copied.
//!
//! The kernel writes three kinds of value (`audit_log_format` and `audit_log_untrustedstring`,
//! kernel/audit.c): quoted text, bare text up to a space, and upper-case hex, which is bare too. Which bare
//! values are hex depends on the key, so the scanner leaves that to its caller.
//!
//! Keys and most values are shorter than 16 bytes, so the scanner looks at 16 bytes as one number and finds
//! the `=`, the quote or the space among them with a few operations instead of a loop.

use memchr::{memchr, memrchr};

use super::lanes::{self, WIDTH};

/// A key as a number: its bytes, the first one lowest, so that keys are told apart by comparing integers.
/// 0 for a key of 16 bytes or more; no key that has a field of its own is that long.
pub(crate) const fn word(key: &[u8]) -> u128 {
    if key.len() >= WIDTH {
        return 0;
    }
    let mut packed = 0;
    let mut rest = key;
    while let [head @ .., last] = rest {
        packed = packed << 8 | *last as u128;
        rest = head;
    }
    packed
}

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

    /// Takes the key and its `=` off the front.
    #[inline]
    fn key(&mut self) -> Option<(&'a [u8], u128)> {
        if let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        if let Some(chunk) = self.rest.first_chunk() {
            let packed = u128::from_le_bytes(*chunk);
            let equals = lanes::first_equal(packed, b'=');
            if 0 < equals
                && let Some((key, [_, rest @ ..])) = self.rest.split_at_checked(equals)
                && let Some(mask) = lanes::LOWEST.get(equals)
                && !lanes::any_below(packed, b' ' + 1, *mask)
            {
                self.rest = rest;
                return Some((key, packed & mask));
            }
        }
        self.odd_key()
    }

    /// The same where the key is near the end of the record, is long, or does not stand at the front.
    #[cold]
    #[inline(never)]
    fn odd_key(&mut self) -> Option<(&'a [u8], u128)> {
        loop {
            let spaces = self.rest.iter().position(|&byte| !is_space(byte))?;
            self.skip(spaces);
            if self.rest.first() == Some(&ENRICHMENT) {
                self.rest = &[];
                return None;
            }
            let stop = self.rest.iter().position(|&byte| byte == b'=' || byte <= b' ');
            let Some((key, [end, rest @ ..])) = stop.and_then(|at| self.rest.split_at_checked(at)) else {
                self.cut = true;
                self.rest = &[];
                return None;
            };
            if *end == b'=' && !key.is_empty() {
                self.rest = rest;
                return Some((key, word(key)));
            }
            // Words between the fields (`avc:  denied`) and stray equals signs.
            let junk = if *end == b'=' { lanes::until_below(self.rest, b' ' + 1) } else { key.len() };
            self.skip(junk);
        }
    }

    #[inline]
    fn value(&mut self, word: u128) -> Value<'a> {
        let [b'"', quoted @ ..] = self.rest else {
            let length = lanes::until_below(self.rest, b' ' + 1);
            let (value, tail) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
            self.rest = tail;
            return Value::Bare(value);
        };
        let end = if word == EXECPATH { last_quote(quoted) } else { lanes::find(quoted, b'"') };
        let Some((value, [_, tail @ ..])) = end.and_then(|end| quoted.split_at_checked(end)) else {
            self.rest = &[];
            return Value::Cut(quoted);
        };
        self.rest = tail;
        Value::Quoted(value)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let (key, word) = self.key()?;
        Some(Field { key, word, value: self.value(word) })
    }
}

/// Where the last quote of the kernel's part of the record is.
#[cold]
fn last_quote(text: &[u8]) -> Option<usize> {
    let end = memchr(ENRICHMENT, text).unwrap_or(text.len());
    memrchr(b'"', text.get(..end)?)
}

/// A space, or a control character such as the newline that a bus daemon leaves in its report.
const fn is_space(byte: u8) -> bool {
    byte <= b' ' && byte != ENRICHMENT
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
        let mut scanner = Scanner::new(b"requested_mask=1 a_key_of_16_and_more=2");
        assert_eq!(scanner.next().unwrap().word, word(b"requested_mask"));
        assert_eq!(scanner.next().unwrap().word, 0);
        assert_eq!(word(b"a_key_of_16_and_more"), 0);
    }
}
