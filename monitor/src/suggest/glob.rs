//! AppArmor's patterns: written so that they mean exactly one name, and matched as the kernel would.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Values of `@{NAME}`, each a pattern.
pub(crate) type Variables = BTreeMap<String, Vec<String>>;

/// How often a variable may stand for another before it is taken for a circle.
const DEPTH: usize = 8;

/// States of a matcher. The longest patterns of a distribution have some hundred; what needs more matches
/// nothing, so that its author's rule is suggested once more rather than believed.
const STATES: usize = 16_384;

/// A pattern that matches `name` and nothing else.
///
/// What is special to AppArmor is escaped, and so is every byte outside printable ASCII: a profile is read
/// by people in terminals.
pub(crate) fn literal(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'\\' | b'?' | b'*' | b'[' | b']' | b'{' | b'}' | b'"' | b'^' | b'@' | b'#' => {
                // An @ means a variable only before a brace, which is escaped; abstract sockets keep theirs.
                if byte != b'@' && byte != b'#' || byte == b'#' && text.is_empty() {
                    text.push('\\');
                }
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text
}

/// A pattern as it has to stand in a profile: between quotes where a bare word would end early.
pub(crate) fn quoted(pattern: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%~=\\?*[]{}^&$!<>;|".contains(&byte);
    // A comma is part of a word in an alternation alone, and escaped braces make none.
    let (mut depth, mut escaped) = (0_usize, false);
    let mut stands = |byte: u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        bare(byte) || byte == b',' && depth > 0
    };
    if !pattern.is_empty() && pattern.bytes().all(&mut stands) {
        return pattern.to_owned();
    }
    format!("\"{pattern}\"")
}

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    const NONE: Self = Self([0; 4]);
    const ALL: Self = Self([u64::MAX; 4]);

    fn with(mut self, byte: u8) -> Self {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
        self
    }

    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    fn has(self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|word| word & (1 << (byte & 63)) != 0)
    }

    /// Any byte that is not the separator of path components.
    fn component() -> Self {
        Self::NONE.with(b'/').not()
    }
}

#[derive(Clone)]
enum State {
    /// Takes a byte of the set.
    Take(Bytes, usize),
    /// Goes on at several places without taking anything.
    Split(Vec<usize>),
    End,
}

/// A pattern made ready for matching: an automaton whose work grows with the name, not with the pattern's
/// possibilities, because names are chosen by the confined program.
#[derive(Clone)]
pub(crate) struct Matcher {
    states: Vec<State>,
    start: usize,
}

impl Matcher {
    /// Of paths, in which repeated slashes are one; None for a pattern that is malformed or too large.
    pub(crate) fn new(pattern: &str, variables: &Variables) -> Option<Self> {
        Self::build(pattern, variables, true)
    }

    /// Of labels and addresses, which are what they are: `p///bin/sh` is a child of `p`.
    pub(crate) fn of_label(pattern: &str, variables: &Variables) -> Option<Self> {
        Self::build(pattern, variables, false)
    }

    fn build(pattern: &str, variables: &Variables, folds: bool) -> Option<Self> {
        let expanded = expand(pattern, variables, DEPTH, false)?;
        let mut builder = Builder { text: expanded.as_bytes(), at: 0, states: vec![State::End], folds };
        let start = builder.sequence(0, false)?;
        (builder.at == builder.text.len()).then_some(Self { states: builder.states, start })
    }

    /// Whether all of `name` matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let mut now = Vec::new();
        let mut seen = vec![false; self.states.len()];
        self.enter(self.start, &mut now, &mut seen);
        for &byte in name {
            let mut next = Vec::with_capacity(now.len());
            seen.fill(false);
            for &state in &now {
                if let Some(State::Take(bytes, to)) = self.states.get(state)
                    && bytes.has(byte)
                {
                    self.enter(*to, &mut next, &mut seen);
                }
            }
            if next.is_empty() {
                return false;
            }
            now = next;
        }
        now.iter().any(|state| matches!(self.states.get(*state), Some(State::End)))
    }

    fn enter(&self, state: usize, into: &mut Vec<usize>, seen: &mut [bool]) {
        let mut waiting = vec![state];
        while let Some(state) = waiting.pop() {
            match seen.get_mut(state) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match self.states.get(state) {
                Some(State::Split(to)) => waiting.extend(to),
                Some(_) => into.push(state),
                None => {}
            }
        }
    }
}

/// Replaces variables by alternations of their values. `slash` says whether a slash follows: the parser folds
/// repeated ones, and the values of most variables end in one.
fn expand(pattern: &str, variables: &Variables, depth: usize, slash: bool) -> Option<String> {
    let Some((before, rest)) = pattern.split_once("@{") else {
        return Some(if slash { pattern.trim_end_matches('/') } else { pattern }.to_owned());
    };
    let (name, after) = rest.split_once('}')?;
    let values = variables.get(name)?;
    let depth = depth.checked_sub(1)?;
    let follows = after.starts_with('/') || after.is_empty() && slash;
    let mut text = before.to_owned();
    text.push('{');
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&expand(value, variables, depth, follows)?);
    }
    text.push('}');
    text.push_str(&expand(after, variables, depth, slash && !after.is_empty())?);
    (text.len() <= STATES).then_some(text)
}

struct Builder<'a> {
    text: &'a [u8],
    at: usize,
    states: Vec<State>,
    /// Whether repeated slashes are one.
    folds: bool,
}

/// What one element of a pattern takes.
enum Element {
    One(Bytes),
    /// Any number of these, and at least one if so told.
    Many(Bytes, bool),
    Either(Vec<usize>),
}

impl Builder<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn add(&mut self, state: State) -> Option<usize> {
        if self.states.len() >= STATES {
            return None;
        }
        self.states.push(state);
        Some(self.states.len() - 1)
    }

    /// The elements up to the end or, in an alternation, to its comma or brace; they lead to `end`.
    fn sequence(&mut self, end: usize, nested: bool) -> Option<usize> {
        // The states are made from the back, so the elements are collected first.
        let mut elements = Vec::new();
        let mut slash = false;
        while let Some(byte) = self.peek() {
            if nested && (byte == b',' || byte == b'}') {
                break;
            }
            let element = self.element(slash)?;
            let is_slash = matches!(element, Element::One(bytes) if bytes == Bytes::NONE.with(b'/'));
            slash = is_slash || slash && matches!(&element, Element::Many(..));
            elements.push((element, is_slash));
        }
        let mut next = end;
        let mut next_is_slash = false;
        for (element, is_slash) in elements.into_iter().rev() {
            next = match element {
                Element::One(_) if self.folds && is_slash && next_is_slash => next,
                Element::One(bytes) => self.add(State::Take(bytes, next))?,
                Element::Many(bytes, once) => {
                    let split = self.add(State::Split(vec![next]))?;
                    let take = self.add(State::Take(bytes, split))?;
                    if let Some(State::Split(to)) = self.states.get_mut(split) {
                        to.push(take);
                    }
                    if once { self.add(State::Take(bytes.min_component(), split))? } else { split }
                }
                Element::Either(heads) => {
                    // Each alternative ends in a state of its own that leads on.
                    for &head in heads.get(1..).unwrap_or_default().iter().step_by(2) {
                        if let Some(state) = self.states.get_mut(head) {
                            *state = State::Split(vec![next]);
                        }
                    }
                    let starts = heads.iter().copied().step_by(2).collect();
                    self.add(State::Split(starts))?
                }
            };
            next_is_slash = is_slash;
        }
        Some(next)
    }

    fn element(&mut self, after_slash: bool) -> Option<Element> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'?' => Element::One(Bytes::component()),
            b'*' => {
                let many = self.peek() == Some(b'*');
                while self.peek() == Some(b'*') {
                    self.at += 1;
                }
                // A star that is all of a component does not stand for nothing (apparmor.d(5)).
                let whole = after_slash && matches!(self.peek(), None | Some(b'/'));
                Element::Many(if many { Bytes::ALL } else { Bytes::component() }, whole)
            }
            b'[' => Element::One(self.class()?),
            b'{' => Element::Either(self.alternatives()?),
            b'\\' => Element::One(Bytes::NONE.with(self.escaped()?)),
            byte => Element::One(Bytes::NONE.with(byte)),
        })
    }

    /// Start and end of each alternative, in turn.
    fn alternatives(&mut self) -> Option<Vec<usize>> {
        let mut heads = Vec::new();
        loop {
            let end = self.add(State::Split(Vec::new()))?;
            let start = self.sequence(end, true)?;
            heads.extend([start, end]);
            let byte = self.peek()?;
            self.at += 1;
            if byte == b'}' {
                return Some(heads);
            }
        }
    }

    fn class(&mut self) -> Option<Bytes> {
        let negated = self.peek() == Some(b'^');
        self.at += usize::from(negated);
        let mut bytes = Bytes::NONE;
        let mut first = true;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            let low = match byte {
                b']' if !first => break,
                b'\\' => self.escaped()?,
                byte => byte,
            };
            first = false;
            let high = match (self.peek(), self.text.get(self.at + 1)) {
                (Some(b'-'), Some(&high)) if high != b']' => {
                    self.at += 2;
                    high
                }
                _ => low,
            };
            for byte in low..=high {
                bytes = bytes.with(byte);
            }
        }
        Some(if negated { bytes.with(b'/').not() } else { bytes })
    }

    /// The byte that a backslash and what follows it stand for.
    fn escaped(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        let digits = |from: usize, count: usize, radix: u32| {
            let digits = str::from_utf8(self.text.get(from..from + count)?).ok()?;
            u8::from_str_radix(digits, radix).ok()
        };
        let (value, more) = match byte {
            b'x' => (digits(self.at, 2, 16)?, 2),
            b'0'..=b'3' => match digits(self.at - 1, 3, 8) {
                Some(value) => (value, 2),
                None => (byte, 0),
            },
            b'n' => (b'\n', 0),
            b't' => (b'\t', 0),
            b'r' => (b'\r', 0),
            byte => (byte, 0),
        };
        self.at += more;
        Some(value)
    }
}

impl Bytes {
    /// What a star takes first when it is all of a component.
    fn min_component(self) -> Self {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = Self::component().0;
        Self([a & e, b & f, c & g, d & h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let rows: [(&str, &[&str]); 4] = [
            ("PROC", &["/proc/"]),
            ("HOMEDIRS", &["/home/", "/srv/home/"]),
            ("HOME", &["@{HOMEDIRS}/*/", "/root/"]),
            ("loop", &["@{loop}"]),
        ];
        rows.iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn matches_as_apparmor_does() {
        for (pattern, name, want) in [
            ("/etc/passwd", "/etc/passwd", true),
            ("/etc/passwd", "/etc/passwd2", false),
            ("/etc/*", "/etc/passwd", true),
            ("/etc/*", "/etc/", false),
            ("/etc/*", "/etc/a/b", false),
            ("/etc/**", "/etc/a/b", true),
            ("/etc/**", "/etc/", false),
            ("/etc/**", "/etc/a/", true),
            ("/etc/a*", "/etc/a", true),
            ("/etc/**/x", "/etc/a/b/x", true),
            ("/lib{,32,64}/**.so*", "/lib64/a/libc.so.6", true),
            ("/lib{,32,64}/**.so*", "/lib65/a/libc.so.6", false),
            ("/{usr/,}lib/x", "/lib/x", true),
            ("/{a{b,c},d}/", "/ac/", true),
            ("/{a{b,c},d}/", "/ad/", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/a/c", false),
            ("/[a-c]x", "/bx", true),
            ("/[^a-c]x", "/bx", false),
            ("/[^a-c]x", "/dx", true),
            ("/[^a-c]x", "//x", false),
            (r"/a\*", "/a*", true),
            (r"/a\*", "/ab", false),
            (r"/a\x20b\040c", "/a b c", true),
            ("@{PROC}/1/stat", "/proc/1/stat", true),
            ("@{HOME}/.ssh/", "/srv/home/eve/.ssh/", true),
            ("@{HOME}/.ssh/", "/root/.ssh/", true),
            ("@{HOME}/.ssh/", "/home/.ssh/", false),
            ("@{nobody}/x", "/x", false),
            ("@{loop}", "/x", false),
            ("/{a", "/a", false),
            ("", "", true),
        ] {
            let got = Matcher::new(pattern, &variables()).is_some_and(|m| m.matches(name.as_bytes()));
            assert_eq!(got, want, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_literal_matches_itself_and_stands_in_a_profile() {
        for (name, text) in [
            (&b"/etc/passwd"[..], "/etc/passwd"),
            (b"/a b", "\"/a b\""),
            (br#"/q"[x]{y}^*?\"#, r#""/q\"\[x\]\{y\}\^\*\?\\""#),
            (b"/esc\x1b[31m\n", r"/esc\x1b\[31m\x0a"),
            (b"/\xff\xc3\xa9", r"/\xff\xc3\xa9"),
            (b"@abstract", "@abstract"),
            (b"/v@{HOME}", r"/v@\{HOME\}"),
            (b"/a,b", "\"/a,b\""),
            (b"", "\"\""),
        ] {
            let pattern = literal(name);
            assert_eq!(quoted(&pattern), text);
            let matcher = Matcher::new(&pattern, &Variables::new()).unwrap();
            assert!(matcher.matches(name), "{pattern}");
            assert!(!matcher.matches(&[name, b"x"].concat()), "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = format!("/{}b", "*a".repeat(200));
        let name = format!("/{}", "a".repeat(4000));
        assert!(!Matcher::new(&pattern, &Variables::new()).unwrap().matches(name.as_bytes()));
    }
}
