//! A log as a stream of bytes: where its records end, and which of them belong together.

use std::collections::VecDeque;

use bumpalo::Bump;
use memchr::memchr;

use super::companions::Companions;
use super::framing::{EXPORT_START, Framed, export_length, unframe};
use super::line::read;
use super::parse::{ParseError, Reason};
use super::sender::Senders;
use super::violation::{Origin, Violation};

/// A line that is longer is none: the longest that the kernel, auditd and syslog daemons write is some KiB,
/// and a journal entry with a record in it is hardly more.
const LONGEST: usize = 1 << 20;

/// How many records wait for companions. The kernel writes those of one event one after the other, and each
/// CPU is in the middle of one event at most.
const WINDOW: usize = 32;

/// What is called for each line: the line, and what it is.
pub(crate) type Each<'e> = dyn FnMut(&[u8], Result<&Violation<'_>, ParseError>) + 'e;

/// Reads records off a stream of bytes that comes in pieces of any size. Memory is bounded by the longest
/// line and the size of a piece.
pub struct Log {
    origin: Origin,
    senders: Senders,
    /// What is not read yet: records that may still get companions, and the beginning of a line.
    pending: Vec<u8>,
    /// Memory for what is pending next, so that none is asked for with each piece.
    spare: Vec<u8>,
    /// In the rest of a line that is too long.
    skipping: bool,
    framings: Bump,
    violations: Bump,
}

impl Log {
    /// A log whose records come from `origin`, in which `senders` are believed.
    pub fn new(origin: Origin, senders: Senders) -> Self {
        Self {
            origin,
            senders,
            pending: Vec::new(),
            spare: Vec::new(),
            skipping: false,
            framings: Bump::new(),
            violations: Bump::new(),
        }
    }

    /// Reads the next piece.
    pub fn feed(&mut self, piece: &[u8], each: &mut Each<'_>) {
        self.pending.extend_from_slice(piece);
        self.read(false, each);
    }

    /// Reads what waits for companions, because nothing has come for a while.
    pub fn settle(&mut self, each: &mut Each<'_>) {
        self.read(true, each);
    }

    /// Reads what is left at the end, a line without a newline too.
    pub fn finish(&mut self, each: &mut Each<'_>) {
        if !self.skipping && !self.pending.is_empty() && self.pending.last() != Some(&b'\n') {
            self.pending.push(b'\n');
            if self.pending.starts_with(EXPORT_START) {
                self.pending.push(b'\n');
            }
        }
        self.read(true, each);
        // A journal entry whose end is missing.
        if !self.pending.is_empty() {
            each(&self.pending, Err(ParseError::NotAppArmor));
        }
        self.pending.clear();
        self.skipping = false;
    }

    fn read(&mut self, settle: bool, each: &mut Each<'_>) {
        self.framings.reset();
        let mut stream = std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare));
        self.read_stream(&stream, settle, each);
        stream.clear();
        self.spare = stream;
    }

    /// Reads a stream, and has what cannot be read yet pending.
    fn read_stream(&mut self, stream: &[u8], settle: bool, each: &mut Each<'_>) {
        let mut rest = stream;
        if self.skipping {
            let Some(end) = memchr(b'\n', rest) else { return };
            rest = rest.get(end + 1..).unwrap_or_default();
            self.skipping = false;
        }
        let mut window = Window {
            waiting: VecDeque::with_capacity(WINDOW + 1),
            companions: 0,
            origin: self.origin,
            senders: &self.senders,
            arena: &mut self.violations,
        };
        while let Some((unit, after)) = next_unit(rest) {
            rest = after;
            match unframe(unit, &self.framings) {
                Ok(framed) if framed.kind.reports() || framed.kind.accompanies() => {
                    window.push(unit, framed, each);
                }
                Ok(_) => each(unit, Err(ParseError::NotAppArmor)),
                Err(error) => each(unit, Err(error)),
            }
        }
        if settle {
            while window.pop(each) {}
        }
        for (unit, _) in window.waiting {
            self.pending.extend_from_slice(unit);
            self.pending.push(b'\n');
        }
        if rest.len() > LONGEST {
            each(rest.get(..LONGEST).unwrap_or_default(), Err(ParseError::Malformed(Reason::TooLong)));
            self.skipping = true;
        } else {
            self.pending.extend_from_slice(rest);
        }
    }
}

/// The line at the front, or the journal entry, and what follows. None when its end is not there.
fn next_unit(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let length =
        if stream.starts_with(EXPORT_START) { export_length(stream)? } else { memchr(b'\n', stream)? + 1 };
    let (unit, rest) = stream.split_at_checked(length)?;
    Some((unit.strip_suffix(b"\n").unwrap_or(unit), rest))
}

/// The last records, held back until their companions have come.
struct Window<'w, 'a> {
    waiting: VecDeque<(&'a [u8], Framed<'a>)>,
    /// How many of them are companions.
    companions: usize,
    origin: Origin,
    senders: &'w Senders,
    arena: &'w mut Bump,
}

impl<'a> Window<'_, 'a> {
    fn push(&mut self, unit: &'a [u8], framed: Framed<'a>, each: &mut Each<'_>) {
        self.companions += usize::from(framed.kind.accompanies());
        self.waiting.push_back((unit, framed));
        if self.waiting.len() > WINDOW {
            self.pop(each);
        }
    }

    /// Reads the oldest. False when there is none.
    fn pop(&mut self, each: &mut Each<'_>) -> bool {
        let Some((unit, framed)) = self.waiting.front() else { return false };
        if framed.kind.accompanies() {
            self.companions -= 1;
            each(unit, Err(ParseError::NotAppArmor));
            self.waiting.pop_front();
            return true;
        }
        self.arena.reset();
        let arena = &*self.arena;
        match read(framed, self.origin, self.senders, arena) {
            Ok(violation) => {
                if self.companions > 0 && framed.stamp.is_some() {
                    let mut found = Companions::default();
                    let same = |other: &&(&[u8], Framed<'_>)| {
                        other.1.stamp == framed.stamp && other.1.node == framed.node
                    };
                    let added = self.waiting.iter().filter(same).filter(|(_, other)| found.add(other, arena));
                    if added.count() > 0 {
                        violation.companions = Some(arena.alloc(found));
                    }
                }
                each(unit, Ok(violation));
            }
            Err(error) => each(unit, Err(error)),
        }
        self.waiting.pop_front();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(serial: u32, name: &str) -> String {
        format!(
            "type=AVC msg=audit(1.000:{serial}): apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"{name}\""
        )
    }

    fn syscall(serial: u32, exit: i64) -> String {
        format!(
            "type=SYSCALL msg=audit(1.000:{serial}): arch=c000003e syscall=257 success=no exit={exit} ppid=1 comm=\"c\" exe=\"/bin/x\""
        )
    }

    /// What comes of a log that is fed in pieces of a size: a word for each line.
    fn run(log: &[u8], piece: usize) -> Vec<String> {
        let mut words = Vec::new();
        let mut each = |_: &[u8], result: Result<&Violation<'_>, ParseError>| {
            words.push(match result {
                Ok(violation) => {
                    let name = String::from_utf8_lossy(violation.name.unwrap_or_default()).into_owned();
                    let exit = violation.companions.and_then(|companions| companions.exit);
                    exit.map_or(name.clone(), |exit| format!("{name}{exit}"))
                }
                Err(ParseError::NotAppArmor) => "other".to_owned(),
                Err(ParseError::Untrusted) => "untrusted".to_owned(),
                Err(ParseError::Malformed(_)) => "malformed".to_owned(),
            });
        };
        let mut reader = Log::new(Origin::File, Senders::by_program());
        for piece in log.chunks(piece) {
            reader.feed(piece, &mut each);
        }
        reader.finish(&mut each);
        words.sort();
        words
    }

    #[test]
    fn the_size_of_the_pieces_does_not_matter() {
        let export = "__CURSOR=s=1\n_TRANSPORT=kernel\nSYSLOG_FACILITY=0\nMESSAGE=audit: type=1400 audit(1.000:9): apparmor=\"DENIED\" operation=\"open\" name=\"/e\"\n\n";
        let rows: &[(&str, String, &[&str])] = &[
            ("nothing", String::new(), &[]),
            ("one line", violation(1, "/a") + "\n", &["/a"]),
            ("no newline at the end", violation(1, "/a"), &["/a"]),
            ("empty lines", format!("\n{}\n\n", violation(1, "/a")), &["/a", "other", "other"]),
            ("a companion", [violation(1, "/a"), syscall(1, -13)].join("\n"), &["/a-13", "other"]),
            (
                "companions of two events in turns",
                [violation(1, "/a"), violation(2, "/b"), syscall(1, -13), syscall(2, 3)].join("\n"),
                &["/a-13", "/b3", "other", "other"],
            ),
            (
                "two violations of one event",
                [violation(1, "/a"), violation(1, "/b"), syscall(1, -13)].join("\n"),
                &["/a-13", "/b-13", "other"],
            ),
            (
                "a companion of another machine",
                [violation(1, "/a"), format!("node=x {}", syscall(1, -13))].join("\n"),
                &["/a", "other"],
            ),
            (
                "a journal entry",
                format!("{}\n{export}{}", violation(1, "/a"), violation(2, "/b")),
                &["/a", "/b", "/e"],
            ),
            ("a journal entry without its end", export.trim_end().to_owned(), &["/e"]),
            ("a malformed line", "type=AVC msg=audit(x): \n".to_owned(), &["malformed"]),
        ];
        for (name, log, want) in rows {
            for piece in [1, 2, 7, 64, 1 << 20] {
                assert_eq!(run(log.as_bytes(), piece), *want, "{name}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_line_without_an_end_costs_one_line() {
        let mut log = vec![b'x'; 3 * LONGEST];
        log.push(b'\n');
        log.extend_from_slice(violation(1, "/a").as_bytes());
        assert_eq!(run(&log, 64 << 10), ["/a", "malformed"]);
    }

    #[test]
    fn what_waits_comes_when_nothing_else_does() {
        let mut seen = 0;
        let mut each =
            |_: &[u8], result: Result<&Violation<'_>, ParseError>| seen += u32::from(result.is_ok());
        let mut log = Log::new(Origin::File, Senders::by_program());
        log.feed((violation(1, "/a") + "\ntype=AVC msg=aud").as_bytes(), &mut each);
        log.settle(&mut each);
        log.feed(b"it(1.000:2): apparmor=\"DENIED\" operation=\"open\"\n", &mut each);
        log.settle(&mut each);
        assert_eq!(seen, 2);
    }
}
