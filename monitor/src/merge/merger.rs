//! Recognising the same violation in two streams.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use super::SeenBy;
use super::waiting::Waiting;
use crate::capture::Source;
use crate::identity::resolver::Who;
use crate::record::{AuditId, Verdict, Violation};

/// What both streams say of a violation. The stamp alone will not do: with auditing on, all records of one
/// system call share it. Violations that are alike in all of this are told apart by how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    stamp: AuditId,
    verdict: Verdict,
    pid: Option<u32>,
    operation_and_name: u64,
}

/// What becomes of a sighting in the audit stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nobody saw it before, and nobody else will: count it, as this one's.
    Count(Who),
    /// It was counted when the eBPF source saw it.
    Merged,
    /// It waits for the eBPF source's sighting.
    Waits,
    /// The room of awaited sightings overflowed a moment ago, so this may well have been counted: it is
    /// dropped rather than counted twice.
    Overflow,
}

/// A record of the audit stream that waited for eBPF's sighting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The record.
    pub record: Vec<u8>,
    /// Whose it was when it came: later its process may be gone.
    pub who: Who,
}

/// Decides which sightings are one violation. Pure: told what time it is.
#[derive(Debug)]
pub struct Merger {
    both: bool,
    hash: RandomState,
    /// Counted when eBPF saw them; the audit stream should bring them too.
    awaited: Waiting<Key, ()>,
    /// Records of the audit stream that eBPF should bring too.
    parked: Waiting<Key, Parked>,
    overflowed_until: Option<Instant>,
    missed_by_audit: u64,
}

impl Merger {
    /// How long the audit stream may lag behind eBPF: it goes through the kernel's audit thread.
    const AUDIT_LAG: Duration = Duration::from_secs(10);
    /// How long eBPF may lag behind the audit stream.
    const EBPF_LAG: Duration = Duration::from_secs(2);
    /// Some 100 bytes each.
    const AWAITED: usize = 65_536;
    /// Some 500 bytes each.
    const PARKED: usize = 16_384;
    /// Enough of a name to tell two apart, and less than either stream cuts a name to.
    const NAME_PREFIX: usize = 1024;

    /// A merger of two streams (`both`), or one that lets a single stream pass.
    pub fn new(both: bool) -> Self {
        Self {
            both,
            hash: RandomState::new(),
            awaited: Waiting::new(Self::AWAITED),
            parked: Waiting::new(Self::PARKED),
            overflowed_until: None,
            missed_by_audit: 0,
        }
    }

    /// A sighting by eBPF. It is always counted now; the answer tells who has seen it so far.
    pub fn ebpf(&mut self, violation: &Violation<'_>, now: Instant) -> SeenBy {
        let alone = SeenBy::only(Source::Ebpf);
        let Some(key) = self.key(violation).filter(|_| self.both) else { return alone };
        if self.parked.take(&key).is_some() {
            return SeenBy { ebpf: true, audit: true };
        }
        if self.awaited.insert(key, (), now + Self::AUDIT_LAG).is_some() {
            self.overflowed_until = Some(now + Self::AUDIT_LAG);
        }
        alone
    }

    /// A sighting in the audit stream; `record` is kept when it has to wait. `resolve` is asked whose it is
    /// unless that is known already. When the room for waiting is full, `evict` is given the record that has
    /// waited longest, to be counted now.
    pub fn audit(
        &mut self,
        violation: &Violation<'_>,
        record: &[u8],
        now: Instant,
        resolve: impl FnOnce() -> Who,
        evict: impl FnOnce(Parked),
    ) -> Sighting {
        let Some(key) = self.key(violation).filter(|_| self.both) else { return Sighting::Count(resolve()) };
        if self.awaited.take(&key).is_some() {
            return Sighting::Merged;
        }
        if self.overflowed_until.is_some_and(|until| now < until) {
            return Sighting::Overflow;
        }
        let parked = Parked { record: record.to_vec(), who: resolve() };
        if let Some(oldest) = self.parked.insert(key, parked, now + Self::EBPF_LAG) {
            evict(oldest);
        }
        Sighting::Waits
    }

    /// The next record that waited in vain: eBPF did not see it, so it is counted now.
    pub fn given_up(&mut self, now: Instant) -> Option<Parked> {
        while self.awaited.expired(now).is_some() {
            self.missed_by_audit += 1;
        }
        self.parked.expired(now)
    }

    /// The next record that waits; for the end, when no other sighting can come.
    pub fn drain(&mut self) -> Option<Parked> {
        self.parked.pop_oldest()
    }

    /// When to look for [`Self::given_up`] records.
    pub fn deadline(&self) -> Option<Instant> {
        [self.parked.deadline(), self.awaited.deadline()].into_iter().flatten().min()
    }

    /// How many violations had a stamp, but did not come through the audit stream in time.
    pub fn missed_by_audit(&self) -> u64 {
        self.missed_by_audit
    }

    /// None for what the other stream cannot carry: a violation that audit built no record of has no stamp,
    /// and one that a bus daemon mediates never passes the kernel's hook.
    fn key(&self, violation: &Violation<'_>) -> Option<Key> {
        if violation.sender.is_some() {
            return None;
        }
        let mut hasher = self.hash.build_hasher();
        hasher.write(violation.operation);
        hasher.write_u8(0);
        if let Some(name) = violation.name {
            hasher.write(name.get(..Self::NAME_PREFIX).unwrap_or(name));
        }
        Some(Key {
            stamp: violation.audit_id?,
            verdict: violation.verdict,
            pid: violation.pid,
            operation_and_name: hasher.finish(),
        })
    }
}
