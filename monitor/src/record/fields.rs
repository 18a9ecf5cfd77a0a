//! `key=value` pairs of an audit record, one after the other, nothing copied.
//!
//! The kernel writes three kinds of value (`audit_log_format` and `audit_log_untrustedstring`,
//! kernel/audit.c): quoted text, bare text up to a space, and upper-case hex, which is bare too. Which bare
//! values are hex depends on the key, so the scanner leaves that to its caller.

use memchr::{memchr, memrchr};

use super::find::{Chunk, find, find_any, last};

/// A key as two numbers: its bytes, the first one lowest, so that keys are told apart by comparing integers. Two,
/// because a `match` compares the first halves and then, once, the second.
///
/// All zeros for a key of 16 bytes or more, which no key that has a field of its own is; and for one that ends in
/// NUL, which would be the same numbers as the one without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(u64, u64);

impl Word {
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    const fn new(bytes: u128) -> Self {
        Self(bytes as u64, (bytes >> 64) as u64)
    }
}

/// The [`Word`] of a key.
pub(crate) const fn word(key: &[u8]) -> Word {
    if key.len() >= size_of::<Word>() || matches!(key, [.., 0]) {
        return Word(0, 0);
    }
    let mut packed = 0;
    let mut rest = key;
    while let [head @ .., last] = rest {
        packed = packed << 8 | *last as u128;
        rest = head;
    }
    Word::new(packed)
}

/// The one key whose value the kernel neither escapes nor encodes although the task chose it: 7.3 ends a
/// user namespace record with the path of the program, quotes and all.
const EXECPATH: Word = word(b"execpath");

/// What auditd writes between the kernel's record and its own interpretation of the numbers in it
/// (`log_format = ENRICHED`). The kernel writes no such byte: it encodes strings that hold one.
const ENRICHMENT: u8 = 0x1d;

/// What stands between fields. A bus daemon leaves a newline in its report.
const SPACES: [u8; 2] = [b' ', b'\n'];

/// What ends a bare value.
const ENDS: [u8; 3] = [b' ', b'\n', ENRICHMENT];

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
    pub(crate) word: Word,
    pub(crate) value: Value<'a>,
}

/// Reads fields off the front of a record.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
    /// The last bytes of what `rest` is the end of.
    last: u128,
    /// Ended in the middle of a key: the line was cut.
    pub(crate) cut: bool,
}

// All of the usual path is inlined where the fields are read: the position then stays in a register, and reading a
// record takes an eighth less.
impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text, last: last(text), cut: false }
    }

    /// What comes next, with zeros behind the end.
    #[inline(always)]
    fn chunk(&self) -> Chunk {
        match Chunk::starting(self.rest) {
            Some(chunk) => chunk,
            None => Chunk::ending(self.last, self.rest.len()),
        }
    }

    /// Takes the key and its `=` off the front.
    #[inline(always)]
    fn key(&mut self) -> Option<(&'a [u8], Word)> {
        if let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
        let chunk = self.chunk();
        let equals = chunk.equal(b'=');
        if let Some(length) = equals.first()
            && let Some((key @ [_, ..], [_, rest @ ..])) = self.rest.split_at_checked(length)
            && !chunk.at_most(b' ').any_before(equals)
        {
            self.rest = rest;
            return Some((key, Word::new(chunk.first(length))));
        }
        self.odd_key()
    }

    /// The same where the key is long, or does not stand at the front, or is none.
    #[cold]
    #[inline(never)]
    fn odd_key(&mut self) -> Option<(&'a [u8], Word)> {
        loop {
            let spaces = self.rest.iter().position(|byte| !SPACES.contains(byte))?;
            self.skip(spaces);
            if self.rest.first() == Some(&ENRICHMENT) {
                self.rest = &[];
                return None;
            }
            let stop = self.rest.iter().position(|byte| *byte == b'=' || ENDS.contains(byte));
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
            let junk = if *end == b'=' { find_any(self.rest, ENDS) } else { Some(key.len()) };
            self.skip(junk.unwrap_or(self.rest.len()));
        }
    }

    #[inline(always)]
    fn value(&mut self, word: Word) -> Value<'a> {
        if let [b'"', quoted @ ..] = self.rest {
            self.rest = quoted;
            if let Some(end) = self.chunk().equal(b'"').first()
                && word != EXECPATH
                && let Some((value, [_, rest @ ..])) = quoted.split_at_checked(end)
            {
                self.rest = rest;
                return Value::Quoted(value);
            }
            return self.long_quoted(word);
        }
        let stop = self.chunk().at_most(b' ').first();
        if let Some((value, rest)) = stop.and_then(|stop| self.rest.split_at_checked(stop))
            && rest.first().is_none_or(|end| ENDS.contains(end))
        {
            self.rest = rest;
            return Value::Bare(value);
        }
        self.long_bare()
    }

    /// Takes a value that has no quotes off the front.
    #[inline(never)]
    fn long_bare(&mut self) -> Value<'a> {
        let length = find_any(self.rest, ENDS).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        Value::Bare(value)
    }

    /// Takes a value and its closing quote off the front.
    #[inline(never)]
    fn long_quoted(&mut self, word: Word) -> Value<'a> {
        let (quoted, end) = if word == EXECPATH {
            let (written, end) = last_quote(self.rest);
            self.last = last(written);
            (written, end)
        } else {
            (self.rest, find(self.rest, b'"'))
        };
        let Some((value, [_, rest @ ..])) = end.and_then(|end| quoted.split_at_checked(end)) else {
            self.rest = &[];
            return Value::Cut(quoted);
        };
        self.rest = rest;
        Value::Quoted(value)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Field<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<'a>> {
        let (key, word) = self.key()?;
        Some(Field { key, word, value: self.value(word) })
    }
}

/// The kernel's part of the record, and where its last quote is.
#[cold]
fn last_quote(text: &[u8]) -> (&[u8], Option<usize>) {
    let written = memchr(ENRICHMENT, text).and_then(|end| text.get(..end)).unwrap_or(text);
    (written, memrchr(b'"', written))
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
                "a=\"1\"\n  b=2\nc=3",
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
            (
                "a field behind an unescaped path, and what auditd adds",
                "execpath=\"/a\" b=1\u{1d}UID=\"root\" OUID=\"root\"",
                &[("execpath", Quoted(b"/a")), ("b", Bare(b"1"))],
            ),
            (
                "an unescaped path that was cut, and what auditd adds",
                "execpath=\"/a\u{1d}UID=root",
                &[("execpath", Cut(b"/a"))],
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
        assert_eq!(scanner.next().unwrap().word, Word::default());
        assert_eq!(word(b"a_key_of_16_and_more"), Word::default());
    }

    #[test]
    fn a_key_that_ends_in_nul_is_not_the_one_without() {
        let mut scanner = Scanner::new(b"execpath\0=\"a\" b=\"c, which is longer than a key\" name\0=d");
        let keys: Vec<_> = scanner.by_ref().map(|field| (field.key, field.word)).collect();
        assert_eq!(
            keys,
            [(&b"execpath\0"[..], Word::default()), (b"b", word(b"b")), (b"name\0", Word::default())]
        );
    }
}
