//! Logs instead of a kernel: the way that the events of files take.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bstr::ByteSlice as _;

use crate::capture::file::{Follower, Moved, open, read_to_end};
use crate::merge::{Event, SeenBy};
use crate::output::Report;
use crate::record::{
    Class, Each, Log, Origin, ParseError, Reason, Senders, Verdict, Violation, profile_base,
};

/// How often a followed file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How much of a malformed record a message shows.
const SHOWN: usize = 200;

/// Which violations are reported.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not before this, in nanoseconds since the epoch. What has no time passes.
    pub since: Option<u64>,
    /// With one of these verdicts, if any.
    pub verdicts: Vec<Verdict>,
    /// Of one of these classes, if any.
    pub classes: Vec<Class>,
    /// Of one of these operations, if any.
    pub operations: Vec<String>,
    /// By a profile with a name like one of these, if any.
    pub profiles: Vec<wildmatch::WildMatch>,
}

impl Filter {
    fn passes(&self, violation: &Violation<'_>) -> bool {
        let profile = || String::from_utf8_lossy(violation.profile.unwrap_or_default());
        let base = || profile_base(violation.profile.unwrap_or_default()).to_str_lossy().into_owned();
        self.since.zip(violation.time).is_none_or(|(since, time)| time >= since)
            && (self.verdicts.is_empty() || self.verdicts.contains(&violation.verdict))
            && (self.classes.is_empty() || self.classes.contains(&violation.class))
            && (self.operations.is_empty()
                || self.operations.iter().any(|operation| operation.as_bytes() == violation.operation))
            && (self.profiles.is_empty()
                || self.profiles.iter().any(|name| name.matches(&profile()) || name.matches(&base())))
    }
}

/// What became of the lines of all files. They add up: each line is one of the first four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Violations.
    pub violations: u64,
    /// Of another kind: empty, other audit records, other messages.
    pub others: u64,
    /// Violations that cannot be read.
    pub malformed: u64,
    /// Violations by someone who is not believed.
    pub untrusted: u64,
    /// Violations that the filter let through.
    pub reported: u64,
}

impl Lines {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.violations + self.others + self.malformed + self.untrusted
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { violations, others, malformed, untrusted, reported } = self;
        write!(f, "{} lines = {violations} violations", self.total())?;
        if reported != violations {
            write!(f, " ({reported} reported)")?;
        }
        write!(f, " + {others} of other kinds + {malformed} malformed + {untrusted} not believed")
    }
}

/// Reads logs into a report.
pub struct Replay {
    filter: Filter,
    strict: bool,
    report: Report,
    lines: Lines,
    /// The first malformed record.
    complaint: Option<String>,
    written: io::Result<()>,
}

impl Replay {
    /// Into `report`. When `strict`, a malformed record ends it.
    pub fn new(filter: Filter, strict: bool, report: Report) -> Self {
        Self { filter, strict, report, lines: Lines::default(), complaint: None, written: Ok(()) }
    }

    /// Reads `files` to their ends. A file that cannot be read does not keep the others from being read.
    pub fn read(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        let mut first = Ok(());
        for path in files {
            match self.read_file(path) {
                Err(error) if first.is_ok() => first = Err(error),
                Err(error) => tracing::warn!("{error:#}"),
                Ok(()) => {}
            }
            self.check()?;
        }
        first
    }

    fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let what = || format!("cannot read {}", path.display());
        let mut input = open(path).with_context(what)?;
        let mut log = new_log();
        let done = read_to_end(&mut *input, |piece| {
            log.feed(piece, &mut self.each());
            self.check().is_ok()
        });
        log.finish(&mut self.each());
        done.with_context(what)
    }

    /// Reads `files` and what they gain, until `stop`.
    pub async fn follow(&mut self, files: &[PathBuf], stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut files: Vec<_> = files.iter().map(|path| (path, Follower::new(path), new_log())).collect();
        let mut stop = std::pin::pin!(stop);
        loop {
            let mut idle = true;
            for (path, follower, log) in &mut files {
                let mut gained = false;
                let moved = follower
                    .poll(|piece| {
                        gained = true;
                        log.feed(piece, &mut self.each());
                    })
                    .with_context(|| format!("cannot read {}", path.display()))?;
                if moved == Moved::Anew {
                    // A line that was cut off by the move is not continued by what follows.
                    log.finish(&mut self.each());
                } else if !gained {
                    log.settle(&mut self.each());
                }
                idle &= !gained && moved == Moved::No;
                self.check()?;
            }
            self.report.flush().context("cannot write")?;
            if idle {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = &mut stop => break,
                }
            }
        }
        for (_, _, log) in &mut files {
            log.finish(&mut self.each());
        }
        self.check()
    }

    /// Writes the report, and says what became of the lines.
    pub fn finish(self) -> anyhow::Result<(Lines, Option<String>)> {
        self.report.finish()?;
        Ok((self.lines, self.complaint))
    }

    /// What a line counts as, and where its violation goes.
    fn each(&mut self) -> Box<Each<'_>> {
        Box::new(|line, result| match result {
            Ok(violation) => {
                self.lines.violations += 1;
                if self.filter.passes(violation) {
                    self.lines.reported += 1;
                    let event = Event::unresolved(violation, SeenBy::default());
                    if self.written.is_ok() {
                        self.written = self.report.observe(&event);
                    }
                }
            }
            Err(ParseError::NotAppArmor) => self.lines.others += 1,
            Err(ParseError::Untrusted) => self.lines.untrusted += 1,
            Err(ParseError::Malformed(reason)) => {
                self.lines.malformed += 1;
                self.complaint.get_or_insert_with(|| complaint(line, reason));
            }
        })
    }

    /// Whether to go on.
    fn check(&mut self) -> anyhow::Result<()> {
        std::mem::replace(&mut self.written, Ok(())).context("cannot write")?;
        match &self.complaint {
            Some(complaint) if self.strict => bail!("{complaint}"),
            _ => Ok(()),
        }
    }
}

fn new_log() -> Log {
    Log::new(Origin::File, Senders::by_program())
}

fn complaint(line: &[u8], reason: Reason) -> String {
    let shown = line.get(..SHOWN).unwrap_or(line);
    let more = if shown.len() < line.len() { "..." } else { "" };
    format!("malformed record: {reason}: {}{more}", shown.escape_ascii())
}
