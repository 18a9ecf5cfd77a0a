//! Violations that were read from a log at the start, so that what the sources still bring of them is not
//! counted again.
//!
//! A log is read when the sources are open already: what happened in between is in both. A record in a log can
//! be cut off, so what it is recognised by is its stamp and what stands at its beginning; how many are alike
//! tells them apart, as everywhere.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use crate::capture::Source;
use crate::record::Violation;

/// Where a violation was met, beside the log that is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// A log.
    In(usize),
    /// A source.
    By(Source),
}

impl Met {
    /// How many logs there can be.
    const LOGS: usize = 2;

    const fn index(self) -> usize {
        match self {
            Self::In(log) => log,
            Self::By(Source::Ebpf) => Self::LOGS,
            Self::By(Source::Audit) => Self::LOGS + 1,
        }
    }
}

/// How many are alike: counted, and met in each place.
#[derive(Clone, Copy, Debug, Default)]
struct Alike {
    counted: u32,
    met: [u32; Met::LOGS + Source::ALL.len()],
}

/// The violations that were recovered. Bounded by what is read of the logs, and let go when the sources cannot bring
/// any of them any more.
#[derive(Debug, Default)]
pub struct Recovered {
    hash: RandomState,
    alike: HashMap<u64, Alike>,
    /// When which source has to be seen to be empty; none when that is not waited for.
    awaited: [Option<Instant>; Source::ALL.len()],
}

impl Recovered {
    /// How long after the logs a source may still bring what was in them: a log has a record when the kernel's audit
    /// thread has sent it to everybody else.
    const LAG: Duration = Duration::from_secs(10);

    /// Notes that the logs have been read at `now`: from here on it ends.
    pub fn read(&mut self, now: Instant) {
        self.awaited = [Some(now + Self::LAG); Source::ALL.len()];
    }

    /// When `source` is to be asked whether it has anything more, if it does not tell before.
    pub fn deadline(&self, source: Source) -> Option<Instant> {
        self.awaited.get(source as usize).copied().flatten()
    }

    /// Notes that `source` had nothing more when it was looked at after `at`.
    pub fn drained(&mut self, source: Source, at: Instant) {
        if self.deadline(source).is_some_and(|deadline| deadline <= at) {
            self.ended(source);
        }
    }

    /// Notes that `source` brings nothing more of that time.
    pub fn ended(&mut self, source: Source) {
        if let Some(awaited) = self.awaited.get_mut(source as usize) {
            *awaited = None;
        }
        if self.is_over() {
            self.alike = HashMap::new();
        }
    }

    /// Whether no source can bring anything of that time any more.
    pub fn is_over(&self) -> bool {
        self.awaited.iter().all(Option::is_none)
    }

    /// Whether a violation in a log has not been met before; one without a stamp cannot be told.
    pub fn is_new(&mut self, violation: &Violation<'_>, log: usize) -> bool {
        let Some(key) = self.key(violation) else { return false };
        let alike = self.alike.entry(key).or_default();
        let Some(met) = alike.met.get_mut(Met::In(log).index()) else { return false };
        *met += 1;
        let new = *met > alike.counted;
        alike.counted += u32::from(new);
        new
    }

    /// Whether a violation that a source brings was recovered from a log, and is counted.
    pub fn has(&mut self, violation: &Violation<'_>, source: Source) -> bool {
        if self.alike.is_empty() {
            return false;
        }
        let Some(key) = self.key(violation) else { return false };
        let Some(alike) = self.alike.get_mut(&key) else { return false };
        let Some(met) = alike.met.get_mut(Met::By(source).index()) else { return false };
        *met = met.saturating_add(1);
        *met <= alike.counted
    }

    fn key(&self, violation: &Violation<'_>) -> Option<u64> {
        let stamp = violation.audit_id?;
        let Violation { verdict, operation, namespace, profile, .. } = violation;
        Some(self.hash.hash_one((stamp, verdict, operation, namespace, profile)))
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;

    use super::*;
    use crate::record::{Origin, Senders, parse_line};

    fn line(serial: u32, name: &str) -> String {
        format!(
            "audit(1.000:{serial}): apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"{name}\" pid=1"
        )
    }

    #[test]
    fn what_a_log_and_a_source_have_is_counted_once() {
        use Met::{By, In};
        use Source::{Audit, Ebpf};
        // Where it is met, its serial and name, and whether it is to be counted there.
        let steps = [
            (In(0), 1, "/a", true),
            (In(0), 2, "/a", true),
            // Two records of one system call share a stamp.
            (In(0), 2, "/b", true),
            // The other log has one of them, and one more.
            (In(1), 2, "/b", false),
            (In(1), 3, "/c", true),
            (By(Audit), 2, "/a", false),
            (By(Ebpf), 2, "/a", false),
            (By(Audit), 2, "/b", false),
            (By(Ebpf), 2, "/b", false),
            // More than the logs had: the merger's business.
            (By(Audit), 2, "/d", true),
            (By(Audit), 3, "/c", false),
            (By(Audit), 4, "/e", true),
        ];
        let mut recovered = Recovered::default();
        for (number, (met, serial, name, count)) in steps.into_iter().enumerate() {
            let arena = Bump::new();
            let text = line(serial, name);
            let violation =
                parse_line(text.as_bytes(), Origin::Kmsg, &Senders::by_program(), &arena).unwrap();
            let counted = match met {
                In(log) => recovered.is_new(violation, log),
                By(source) => !recovered.has(violation, source),
            };
            assert_eq!(counted, count, "step {number}: {met:?} {serial} {name}");
        }
    }
    #[test]
    fn it_is_let_go_when_both_sources_were_empty_later() {
        let arena = Bump::new();
        let text = line(1, "/a");
        let violation = parse_line(text.as_bytes(), Origin::Kmsg, &Senders::by_program(), &arena).unwrap();
        let start = Instant::now();
        let later = start + Recovered::LAG;
        let mut recovered = Recovered::default();
        assert!(recovered.is_over(), "nothing was read");
        assert!(recovered.is_new(violation, 0));
        recovered.read(start);
        assert_eq!(recovered.deadline(Source::Audit), Some(later));
        recovered.drained(Source::Ebpf, start);
        recovered.ended(Source::Audit);
        assert_eq!(recovered.deadline(Source::Ebpf), Some(later), "it was empty too early");
        assert!(recovered.has(violation, Source::Ebpf), "and brings it");
        recovered.drained(Source::Ebpf, later);
        assert!(recovered.is_over());
        assert_eq!(recovered.alike.capacity(), 0);
    }
}
