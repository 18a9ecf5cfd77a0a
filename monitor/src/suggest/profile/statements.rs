//! The statements of a profile's text: where each begins and ends.

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement<'a> {
    /// Up to its comma.
    Rule(&'a str),
    /// What stands before an opening brace, and where that is.
    Open(&'a str, usize),
    /// A closing brace.
    Close(usize),
    /// `include <name>`, `include "name"`, with or without `if exists`, with or without `#`.
    Include { name: &'a str, magic: bool, optional: bool },
    /// `@{NAME} = values` or `+=`.
    Variable { name: &'a str, add: bool, values: Vec<&'a str> },
}

/// Reads statements off the front of a text.
pub(super) struct Statements<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Statements<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn line(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest.find('\n').unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    pub(super) fn next_one(&mut self) -> Option<Statement<'a>> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            match trimmed.as_bytes() {
                [] => return None,
                [b'}', ..] => {
                    self.at += 1;
                    return Some(Statement::Close(self.at - 1));
                }
                [b',', ..] => self.at += 1,
                [b'#', ..] => {
                    let line = self.line();
                    if let Some(include) = include(line.trim_start_matches('#')) {
                        return Some(include);
                    }
                }
                _ if is_word(trimmed, "include") => {
                    let line = self.line();
                    if let Some(include) = include(line) {
                        return Some(include);
                    }
                }
                _ => {
                    if let Some(variable) = self.variable() {
                        return Some(variable);
                    }
                    return Some(self.rule_or_block());
                }
            }
        }
    }

    /// Goes on behind the brace that closes the block in which we are.
    pub(super) fn skip_block(&mut self) {
        let mut depth = 1_usize;
        while let Some(statement) = self.next_one() {
            match statement {
                Statement::Open(..) => depth += 1,
                Statement::Close(_) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn variable(&mut self) -> Option<Statement<'a>> {
        let rest = self.rest();
        let (name, after) = rest.strip_prefix("@{")?.split_once('}')?;
        let after = after.trim_start_matches([' ', '\t']);
        let (add, after) = match after.strip_prefix("+=") {
            Some(after) => (true, after),
            None => (false, after.strip_prefix('=')?),
        };
        // A value may go on in the next line, behind a backslash.
        let mut length = 0;
        for line in after.split_inclusive('\n') {
            length += line.len();
            if !line.trim_end().ends_with('\\') {
                break;
            }
        }
        self.at += rest.len() - after.len() + length;
        let values = after.get(..length).unwrap_or_default();
        let values = values.split(char::is_whitespace).take_while(|word| !word.starts_with('#'));
        let values = values
            .map(|word| word.trim_matches('"'))
            .filter(|word| !word.is_empty() && *word != "\\")
            .collect();
        Some(Statement::Variable { name, add, values })
    }

    fn rule_or_block(&mut self) -> Statement<'a> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (mut quoted, mut braces, mut others) = (false, 0_usize, 0_usize);
        let mut before = b' ';
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 1,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' if braces == 0 && others == 0 && (before.is_ascii_whitespace() || before == b')') => {
                    let header = self.slice(start, self.at);
                    self.at += 1;
                    return Statement::Open(header, self.at - 1);
                }
                b'{' => braces += 1,
                // One that closes nothing ends the block: the last rule's comma is missing.
                b'}' if braces == 0 => break,
                b'}' => braces -= 1,
                b'(' | b'[' => others += 1,
                b')' | b']' => others = others.saturating_sub(1),
                b',' if braces == 0 && others == 0 => {
                    let rule = self.slice(start, self.at);
                    self.at += 1;
                    return Statement::Rule(rule);
                }
                _ => {}
            }
            before = byte;
            self.at += 1;
        }
        self.at = self.at.min(bytes.len());
        Statement::Rule(self.slice(start, self.at))
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default().trim()
    }
}

fn is_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '\t', '<', '"']))
}

/// `include [if exists] <name>`: the name between brackets is looked for in the folders of profiles.
fn include(line: &str) -> Option<Statement<'_>> {
    let rest = line.strip_prefix("include")?;
    let rest = rest.trim_start();
    let (optional, rest) = match rest.strip_prefix("if") {
        Some(rest) => (true, rest.trim_start().strip_prefix("exists")?.trim_start()),
        None => (false, rest),
    };
    let (magic, close, rest) = match rest.as_bytes().first()? {
        b'<' => (true, '>', rest.get(1..)?),
        b'"' => (false, '"', rest.get(1..)?),
        _ => {
            return Some(Statement::Include {
                name: rest.split_whitespace().next()?,
                magic: false,
                optional,
            });
        }
    };
    let (name, _) = rest.split_once(close)?;
    Some(Statement::Include { name, magic, optional })
}
