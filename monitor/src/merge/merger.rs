//! Recognising the same violation in two streams.
//!
//! What a violation is recognised by: the audit stamp, and what else both streams say of it, because with
//! auditing on all records of one system call share a stamp, and a stacked profile raises one record for each
//! of its profiles. Violations that are alike in all of this are told apart by how many there are.
//!
//! A partner that does not come is given up not after some time, but when its stream was seen to be empty
//! some time later: a stream that lags, because a storm fills the queue before it, is waited for.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use super::SeenBy;
use super::waiting::Waiting;
use crate::capture::Source;
use crate::identity::resolver::Who;
use crate::record::{AuditId, Violation};

/// What becomes of a sighting in the audit stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nobody saw it before, and nobody else will: count it, as this one's.
    Count(Who),
    /// It was counted when the eBPF source saw it.
    Merged,
    /// It waits for the eBPF source's sighting.
    Waits,
    /// It is from before this agent, whose predecessor left its programs attached: they saw it, and it was
    /// counted then or is in the ring.
    Before,
    /// The room of awaited sightings overflowed a moment ago, so this may well have been counted: it is
    /// dropped rather than counted twice.
    Overflow,
}

/// Which streams carry the same violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// One alone: everything passes at once.
    One,
    /// Both. The programs were attached when the audit stream had begun.
    Both,
    /// Both, and programs that were attached before. They saw what is stamped before this (milliseconds since
    /// the epoch); of the audit stream, that is not asked.
    BothSince(u64),
}

/// Up to when all that a stream carried has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Nothing,
    Until(Instant),
    /// It has ended.
    All,
}

impl Seen {
    fn raise(&mut self, at: Instant) {
        *self = match *self {
            Self::All => Self::All,
            Self::Until(before) => Self::Until(before.max(at)),
            Self::Nothing => Self::Until(at),
        };
    }

    /// Whether nothing more can come for one that waits until `deadline`.
    fn covers(self, deadline: Instant) -> bool {
        match self {
            Self::Nothing => false,
            Self::Until(at) => deadline <= at,
            Self::All => true,
        }
    }
}

/// A record of the audit stream that waited for eBPF's sighting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The record.
    pub record: Box<[u8]>,
    /// Whose it was when it came: later its process may be gone.
    pub who: Who,
}

/// Decides which sightings are one violation. Pure: told what time it is.
#[derive(Debug)]
pub struct Merger {
    streams: Streams,
    hash: RandomState,
    /// What a key is the hash of, put together anew each time: hashing one text is much quicker than hashing a
    /// dozen pieces.
    text: Vec<u8>,
    /// Counted when eBPF saw them; the audit stream should bring them too.
    awaited: Waiting<()>,
    /// Records of the audit stream that eBPF should bring too.
    parked: Waiting<Parked>,
    ebpf_seen: Seen,
    audit_seen: Seen,
    overflowed_until: Option<Instant>,
    missed_by_audit: u64,
}

impl Merger {
    /// How long the audit stream may lag behind eBPF: it goes through the kernel's audit thread.
    const AUDIT_LAG: Duration = Duration::from_secs(10);
    /// How long eBPF may lag behind the audit stream.
    const EBPF_LAG: Duration = Duration::from_secs(2);
    /// Some 80 bytes each.
    const AWAITED: usize = 65_536;
    /// Some 500 bytes each.
    const PARKED: usize = 8_192;
    /// Enough of a string to tell two apart, and less than either stream cuts one to.
    const PREFIX: usize = 960;

    /// A merger of what `streams` says.
    pub fn new(streams: Streams) -> Self {
        Self::with_room(streams, Self::AWAITED, Self::PARKED)
    }

    pub(super) fn with_room(streams: Streams, awaited: usize, parked: usize) -> Self {
        Self {
            streams,
            hash: RandomState::new(),
            text: Vec::new(),
            awaited: Waiting::new(awaited),
            parked: Waiting::new(parked),
            ebpf_seen: Seen::default(),
            audit_seen: Seen::default(),
            overflowed_until: None,
            missed_by_audit: 0,
        }
    }

    /// A sighting by eBPF. It is always counted now; the answer tells who has seen it so far.
    pub fn ebpf(&mut self, violation: &Violation<'_>, now: Instant) -> SeenBy {
        let alone = SeenBy::only(Source::Ebpf);
        let Some((stamp, key)) = self.key(violation) else { return alone };
        if self.parked.take(key).is_some() {
            return SeenBy { ebpf: true, audit: true, log: false };
        }
        if !self.is_before(stamp)
            && self.audit_seen != Seen::All
            && self.awaited.insert(key, (), now + Self::AUDIT_LAG).is_some()
        {
            self.overflowed_until = Some(now + Self::AUDIT_LAG);
        }
        alone
    }

    /// A sighting in the audit stream; `record` is kept when it has to wait. `resolve` is asked whose it is
    /// unless that is known already. When the room for waiting is full, `evict` is given the record that has
    /// waited longest, to be given up now.
    pub fn audit(
        &mut self,
        violation: &Violation<'_>,
        record: &[u8],
        now: Instant,
        resolve: impl FnOnce() -> Who,
        evict: impl FnOnce(Parked),
    ) -> Sighting {
        let Some((stamp, key)) = self.key(violation) else { return Sighting::Count(resolve()) };
        if self.awaited.take(key).is_some() {
            return Sighting::Merged;
        }
        if self.is_before(stamp) {
            return Sighting::Before;
        }
        if self.overflowed_until.is_some_and(|until| !self.audit_seen.covers(until)) {
            return Sighting::Overflow;
        }
        let parked = Parked { record: record.into(), who: resolve() };
        if let Some(oldest) = self.parked.insert(key, parked, now + Self::EBPF_LAG) {
            evict(oldest);
        }
        Sighting::Waits
    }

    /// Notes that `source` had nothing more when it was looked at after `at`, and that all it had brought
    /// before has been told to this merger.
    pub fn drained(&mut self, source: Source, at: Instant) {
        self.seen(source).raise(at);
    }

    /// Notes that `source` has ended: nobody is to wait for it any more.
    pub fn ended(&mut self, source: Source) {
        *self.seen(source) = Seen::All;
    }

    /// The next record that waited in vain: eBPF did not see it.
    pub fn given_up(&mut self) -> Option<Parked> {
        while self.awaited.deadline().is_some_and(|deadline| self.audit_seen.covers(deadline)) {
            self.awaited.pop_oldest();
            self.missed_by_audit += 1;
        }
        let deadline = self.parked.deadline()?;
        self.ebpf_seen.covers(deadline).then(|| self.parked.pop_oldest()).flatten()
    }

    /// When `source` is to be asked whether it has what the other stream brought, if it does not tell before.
    pub fn deadline(&self, source: Source) -> Option<Instant> {
        match source {
            Source::Ebpf => self.parked.deadline(),
            Source::Audit => self.awaited.deadline(),
        }
    }

    /// The record of the audit stream that has waited longest for eBPF's sighting.
    pub fn oldest_parked(&self) -> Option<&Parked> {
        self.parked.oldest()
    }

    /// Whether there is one stream, of which everything passes at once.
    pub fn is_of_one(&self) -> bool {
        self.streams == Streams::One
    }

    /// How many violations had a stamp, but did not come through the audit stream in time.
    pub fn missed_by_audit(&self) -> u64 {
        self.missed_by_audit
    }

    fn seen(&mut self, source: Source) -> &mut Seen {
        match source {
            Source::Ebpf => &mut self.ebpf_seen,
            Source::Audit => &mut self.audit_seen,
        }
    }

    /// Both streams decide by the stamp, so that they decide alike.
    fn is_before(&self, stamp: AuditId) -> bool {
        matches!(self.streams, Streams::BothSince(since) if stamp.millis < since)
    }

    /// None for what the other stream cannot carry: a violation that audit built no record of has no stamp,
    /// and one that a bus daemon mediates never passes the kernel's hook.
    ///
    /// A keyed hash of 64 bits stands for all of it: who does not know the key cannot make two alike.
    fn key(&mut self, violation: &Violation<'_>) -> Option<(AuditId, u64)> {
        if violation.sender.is_some() || self.streams == Streams::One {
            return None;
        }
        let stamp = violation.audit_id?;
        self.text.clear();
        for number in [stamp.millis, stamp.serial, violation.verdict as u64, number(violation.pid)] {
            self.text.extend_from_slice(&number.to_ne_bytes());
        }
        for text in [
            Some(violation.operation),
            violation.namespace,
            violation.profile,
            violation.name,
            violation.requested_mask,
            violation.denied_mask,
        ] {
            let text = text.map(|text| text.get(..Self::PREFIX).unwrap_or(text));
            // The length tells where each ends, and none from an empty one.
            self.text.extend_from_slice(&number(text.map(<[u8]>::len)).to_ne_bytes());
            self.text.extend_from_slice(text.unwrap_or_default());
        }
        Some((stamp, self.hash.hash_one(self.text.as_slice())))
    }
}

/// Nothing is a number, too.
fn number(value: Option<impl TryInto<u64>>) -> u64 {
    value.and_then(|value| value.try_into().ok()).unwrap_or(u64::MAX)
}
