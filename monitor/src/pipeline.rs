//! The way an event takes, from the sources' batches to the outputs.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bumpalo::Bump;
use tokio::sync::mpsc::Receiver;

use crate::capture::audit::split_record;
use crate::capture::{Batch, Source};
use crate::identity::names::Names;
use crate::identity::naming::Naming;
use crate::identity::{Identity, Unknown};
use crate::ledger::{Ledger, Loss};
use crate::merge::{Event, Merger, SeenBy, Sighting};
use crate::record::{self, Origin, ParseError, Senders, Violation};

/// The stages between capture and output, run by one task: a record is never handed from thread to thread.
pub struct Pipeline<O> {
    ledger: Arc<Ledger>,
    merger: Merger,
    /// Nanoseconds since the epoch; a record of the audit stream that is older could not have been seen by
    /// the eBPF source.
    both_since: u64,
    senders: Senders,
    naming: Naming<Held>,
    output: O,
}

/// An event that waits for its container's name: the record, to be read again, and all that was found out.
struct Held {
    source: Source,
    record: Vec<u8>,
    /// What turned this record's boot time into time of day.
    wall_minus_boot: u64,
    seen_by: SeenBy,
    subject: Identity,
    peer: Option<Identity>,
}

/// Where a violation was read from.
#[derive(Clone, Copy)]
struct Raw<'a> {
    source: Source,
    record: &'a [u8],
    wall_minus_boot: u64,
}

impl<O: FnMut(&Event<'_>)> Pipeline<O> {
    /// A pipeline into `output`, which is called once for each violation. `both_since` says since when two
    /// sources see the same violations, if they do.
    pub fn new(ledger: Arc<Ledger>, both_since: Option<SystemTime>, names: Names, output: O) -> Self {
        let merger = Merger::new(both_since.is_some());
        let since = both_since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
        let both_since = since.map_or(0, |since| since.as_nanos() as u64);
        Self {
            ledger,
            merger,
            both_since,
            senders: Senders::of_users(bus_users()),
            naming: Naming::new(names),
            output,
        }
    }

    /// Runs until both sources have ended, then counts what still waits for a second sighting.
    pub async fn run(mut self, mut ebpf: Receiver<Batch>, mut audit: Receiver<Batch>) {
        let (mut ebpf_open, mut audit_open) = (true, true);
        let mut arena = Bump::new();
        while ebpf_open || audit_open {
            let deadline = [self.merger.deadline(), self.naming.deadline()].into_iter().flatten().min();
            tokio::select! {
                batch = ebpf.recv(), if ebpf_open => match batch {
                    Some(batch) => self.ebpf(&batch, &mut arena),
                    None => ebpf_open = false,
                },
                batch = audit.recv(), if audit_open => match batch {
                    Some(batch) => self.audit(&batch, &mut arena),
                    None => audit_open = false,
                },
                () = self.naming.changed() => {}
                () = sleep_until(deadline), if deadline.is_some() => {}
            }
            self.give_up(&mut arena);
            while let Some(events) = self.naming.ready(Instant::now()) {
                self.count_held(events, &mut arena);
            }
        }
        // The sources stop one after the other; what only one of them still saw was not lost by the other.
        self.both_since = u64::MAX;
        while let Some(waiting) = self.merger.drain() {
            self.count_waiting(&waiting, &mut arena);
        }
        while let Some(events) = self.naming.drain() {
            self.count_held(events, &mut arena);
        }
    }

    fn ebpf(&mut self, batch: &Batch, arena: &mut Bump) {
        let wall_minus_boot = wall_minus_boot();
        for raw in batch.iter() {
            arena.reset();
            tracing::trace!(record = %raw.escape_ascii(), "from the ring");
            match record::decode_wire(raw, wall_minus_boot, arena) {
                Ok(violation) => {
                    self.ledger.received(Source::Ebpf, 1);
                    let seen_by = self.merger.ebpf(&violation, Instant::now());
                    let raw = Raw { source: Source::Ebpf, record: raw, wall_minus_boot };
                    self.count(&violation, raw, seen_by);
                }
                Err(error) => {
                    tracing::debug!(%error, record = %raw.escape_ascii(), "wire record does not decode");
                    self.ledger.lose(Loss::EbpfMalformed, 1);
                }
            }
        }
    }

    fn audit(&mut self, batch: &Batch, arena: &mut Bump) {
        for raw in batch.iter() {
            arena.reset();
            let Some(violation) = self.parse_audit(raw, arena) else { continue };
            self.ledger.received(Source::Audit, 1);
            let mut evicted = None;
            let sighting = self.merger.audit(violation, raw, Instant::now(), |record| evicted = Some(record));
            match sighting {
                Sighting::Count => self.count(violation, audit(raw), SeenBy::only(Source::Audit)),
                Sighting::Merged | Sighting::Waits => {}
                Sighting::Overflow => self.ledger.lose(Loss::MergeFull, 1),
            }
            if let Some(waiting) = evicted {
                self.count_waiting(&waiting, arena);
            }
        }
    }

    fn parse_audit<'a>(&self, raw: &'a [u8], arena: &'a Bump) -> Option<&'a Violation<'a>> {
        let (kind, text) = split_record(raw)?;
        tracing::trace!(kind, record = %text.escape_ascii(), "from the audit stream");
        match record::parse_message(kind, text, Origin::Netlink, &self.senders, arena) {
            Ok(violation) => Some(violation),
            Err(ParseError::NotAppArmor) => None,
            Err(ParseError::Untrusted) => {
                tracing::debug!(record = %text.escape_ascii(), "audit record from a process that is not believed");
                self.ledger.lose(Loss::AuditUntrusted, 1);
                None
            }
            Err(error) => {
                tracing::debug!(%error, record = %text.escape_ascii(), "audit record does not parse");
                self.ledger.lose(Loss::AuditMalformed, 1);
                None
            }
        }
    }

    fn give_up(&mut self, arena: &mut Bump) {
        let now = Instant::now();
        while let Some(waiting) = self.merger.given_up(now) {
            self.count_waiting(&waiting, arena);
        }
        self.ledger.set_lost(Loss::AuditMissed, self.merger.missed_by_audit());
    }

    /// Counts a record of the audit stream that eBPF did not see.
    fn count_waiting(&mut self, raw: &[u8], arena: &mut Bump) {
        arena.reset();
        let Some(violation) = self.parse_audit(raw, arena) else { return };
        if violation.time.is_some_and(|time| time >= self.both_since) {
            self.ledger.lose(Loss::EbpfMissed, 1);
        }
        self.count(violation, audit(raw), SeenBy::only(Source::Audit));
    }

    /// Counts `violation`, or has it wait for a moment until its container has a name.
    fn count(&mut self, violation: &Violation<'_>, raw: Raw<'_>, seen_by: SeenBy) {
        let mut subject = Identity::unknown(Unknown::NotLookedFor);
        let mut peer: Option<Identity> = None;
        let now = Instant::now();
        let hold = || {
            let Raw { source, record, wall_minus_boot } = raw;
            let (subject, peer) = (subject.clone(), peer.clone());
            let held = Held { source, record: record.to_vec(), wall_minus_boot, seen_by, subject, peer };
            (held, record.len())
        };
        if !self.naming.waits(&subject, hold, now) {
            self.naming.name(&mut subject, peer.as_mut(), now);
            (self.output)(&Event { violation, seen_by, subject: &subject, peer: peer.as_ref() });
        }
    }

    /// Counts events that have waited.
    fn count_held(&mut self, events: Vec<Held>, arena: &mut Bump) {
        for Held { source, record, wall_minus_boot, seen_by, mut subject, mut peer } in events {
            arena.reset();
            self.naming.name(&mut subject, peer.as_mut(), Instant::now());
            let decoded;
            let violation = match source {
                // It was read before, so it can be read again.
                Source::Ebpf => match record::decode_wire(&record, wall_minus_boot, arena) {
                    Ok(violation) => {
                        decoded = violation;
                        &decoded
                    }
                    Err(_) => continue,
                },
                Source::Audit => match self.parse_audit(&record, arena) {
                    Some(violation) => violation,
                    None => continue,
                },
            };
            (self.output)(&Event { violation, seen_by, subject: &subject, peer: peer.as_ref() });
        }
    }
}

/// A record of the audit stream: its time is in it.
const fn audit(record: &[u8]) -> Raw<'_> {
    Raw { source: Source::Audit, record, wall_minus_boot: 0 }
}

/// The users whose bus daemons are believed: root, and the one that the system bus runs as on this machine
/// (Debian calls it messagebus, Fedora dbus).
fn bus_users() -> Vec<u32> {
    let uid = |name| nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    std::iter::once(0).chain(["messagebus", "dbus"].into_iter().filter_map(uid)).collect()
}

/// What turns the kernel's boot time into nanoseconds since the epoch; taken anew for each batch, because
/// the wall clock can be set.
fn wall_minus_boot() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let nanos =
        |clock| clock_gettime(clock).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64);
    nanos(ClockId::CLOCK_REALTIME).wrapping_sub(nanos(ClockId::CLOCK_BOOTTIME))
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
