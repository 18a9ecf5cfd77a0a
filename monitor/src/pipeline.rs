//! The way an event takes, from the sources' batches to the outputs.

mod recovery;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bumpalo::Bump;
use tokio::sync::mpsc;

use crate::capture::audit::split_record;
use crate::capture::backlog::Backlog;
use crate::capture::{Batch, Both, Inlet, Receipt, SilentDenial, Source};
use crate::identity::Identity;
use crate::identity::names::Names;
use crate::identity::naming::Naming;
use crate::identity::resolver::{Resolver, Who};
use crate::identity::unrecorded::{Unnamed, Unrecorded};
use crate::ledger::{Attached, Ledger, Loss};
use crate::merge::{Event, Merger, Parked, Recovered, SeenBy, Sighting, Streams};
use crate::node;
use crate::record::{self, AuditId, Origin, ParseError, Senders, Violation};
use crate::state::{Checkpoint, Since, Whose};

/// How long to wait for a source's answer before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How old the kernel-side counters may be by which it is decided what a late record is: less than
/// the audit stream's records wait for the eBPF source.
const COUNTERS_AGE: Duration = Duration::from_secs(1);

/// The stages between capture and output, run by one task: a record is never handed from thread to thread.
pub struct Pipeline<O> {
    ledger: Arc<Ledger>,
    merger: Merger,
    /// Nanoseconds since the epoch; a record of the audit stream that is older could not have been seen by
    /// the eBPF source.
    both_since: u64,
    /// The programs stay when this agent goes: what they saw last, the next one counts.
    pinned: bool,
    ebpf_over: bool,
    /// What the eBPF source had lost before.
    lost_before: u64,
    senders: Senders,
    resolver: Resolver,
    naming: Naming<Held>,
    output: O,
    settled: Box<dyn FnMut(Option<Receipt>) + Send>,
    silent: Option<Silent>,
    /// Receipts of batches of which an event may still wait for a name: as many as the sources hand out.
    unsettled: Vec<Receipt>,
    recovered: Recovered,
    backlog: Vec<Backlog>,
    /// What the agent before has counted last, where its programs did not stay.
    since: Option<Since>,
    checkpoint: Option<Checkpoint>,
}

/// The way of denials without a record.
struct Silent {
    readings: mpsc::Receiver<Vec<SilentDenial>>,
    unnamed: Unnamed,
    output: Box<dyn FnMut(&Unrecorded<'_>) + Send>,
}

/// The next reading of denials without a record; none when there are no more.
async fn reading(silent: &mut Option<Silent>) -> Option<Vec<SilentDenial>> {
    silent.as_mut()?.readings.recv().await
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
    /// A pipeline into `output`, which is called once for each violation. `both` says since when two sources
    /// see the same violations, if they do.
    pub fn new(ledger: Arc<Ledger>, both: Option<Both>, resolver: Resolver, names: Names, output: O) -> Self {
        let since = both.and_then(|both| both.since.duration_since(SystemTime::UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let streams = match both {
            None => Streams::One,
            Some(Both { adopted: true, .. }) => Streams::BothSince(since.as_millis() as u64),
            Some(_) => Streams::Both,
        };
        ledger.refresh();
        Self {
            merger: Merger::new(streams),
            both_since: since.as_nanos() as u64,
            pinned: both.is_some_and(|both| both.pinned),
            ebpf_over: false,
            lost_before: ledger.lost_by_ebpf(),
            ledger,
            senders: Senders::of_users(node::bus_users()),
            resolver,
            naming: Naming::new(names),
            output,
            settled: Box::new(drop),
            silent: None,
            unsettled: Vec::new(),
            recovered: Recovered::default(),
            backlog: Vec::new(),
            since: None,
            checkpoint: None,
        }
    }

    /// Has `settled` called whenever all events of the batches so far have been told to the output, with the
    /// receipt of the latest batch if it has one. Dropping the receipt releases the batch.
    pub fn settling(mut self, settled: impl FnMut(Option<Receipt>) + Send + 'static) -> Self {
        self.settled = Box::new(settled);
        self
    }

    /// Takes in denials without a record, too, and tells `output` of them when it is known whose they were.
    pub fn unrecorded(
        mut self,
        readings: Option<mpsc::Receiver<Vec<SilentDenial>>>,
        output: impl FnMut(&Unrecorded<'_>) + Send + 'static,
    ) -> Self {
        self.silent = readings.map(|readings| Silent {
            readings,
            unnamed: Unnamed::default(),
            output: Box::new(output),
        });
        self
    }

    /// Has the checkpoint tell of events before they are told to the output, and after.
    pub fn checking(mut self, checkpoint: Option<Checkpoint>) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    /// Counts what logs hold of the time after a checkpoint first of all. The sources must be open when they
    /// are read.
    pub fn recovering(mut self, backlog: Vec<Backlog>, since: Since) -> Self {
        (self.backlog, self.since) = (backlog, Some(since));
        self
    }

    /// Runs until both sources have ended, then counts what still waits for a second sighting.
    pub async fn run(mut self, mut ebpf: Inlet, mut audit: Inlet) {
        let (mut ebpf_open, mut audit_open) = (true, true);
        let mut arena = Bump::new();
        self.recover(&mut arena);
        let mut asked = Instant::now();
        let mut silent = self.silent.take();
        while ebpf_open || audit_open || silent.is_some() {
            let deadlines = Source::ALL.map(|source| self.deadline(source));
            let next = deadlines.into_iter().flatten().min().map(|deadline| deadline.max(asked + ASK_AGAIN));
            let named_at = self.naming.deadline();
            let mut receipt = None;
            tokio::select! {
                batch = ebpf.recv(), if ebpf_open => match batch {
                    Some(mut batch) => {
                        self.ebpf(&batch, &mut arena);
                        receipt = batch.take_receipt();
                        self.note_drained(Source::Ebpf, &batch);
                    }
                    None => {
                        ebpf_open = false;
                        self.ebpf_ended();
                    }
                },
                batch = audit.recv(), if audit_open => match batch {
                    Some(batch) => {
                        self.audit(&batch, &mut arena);
                        self.note_drained(Source::Audit, &batch);
                    }
                    None => {
                        audit_open = false;
                        self.merger.ended(Source::Audit);
                        self.recovered.ended(Source::Audit);
                    }
                },
                read = reading(&mut silent), if silent.is_some() => match (read, &mut silent) {
                    (Some(read), Some(Silent { unnamed, output, .. })) => {
                        unnamed.read(read, &mut self.resolver, &mut self.naming, output, Instant::now());
                    }
                    (_, ended) => {
                        if let Some(Silent { mut unnamed, mut output, .. }) = ended.take() {
                            unnamed.drain(&mut self.naming, &mut output, Instant::now());
                        }
                    }
                },
                () = sleep_until(next), if next.is_some() => {
                    asked = Instant::now();
                    for (deadline, inlet) in deadlines.into_iter().zip([&ebpf, &audit]) {
                        if deadline.is_some_and(|deadline| deadline <= asked) {
                            inlet.look();
                        }
                    }
                }
                () = self.naming.changed() => {}
                () = sleep_until(named_at), if named_at.is_some() => {}
            }
            self.give_up(&mut arena);
            while let Some(events) = self.naming.ready(Instant::now()) {
                self.count_held(events, &mut arena);
            }
            self.settle(receipt);
        }
        while let Some(events) = self.naming.drain() {
            self.count_held(events, &mut arena);
        }
        self.settle(None);
    }

    /// Says what is told to the output: nothing while an event waits for a name, because the receipts of
    /// batches are given back in their order.
    fn settle(&mut self, receipt: Option<Receipt>) {
        self.unsettled.extend(receipt);
        if self.naming.deadline().is_some() {
            return;
        }
        self.finish();
        let latest = self.unsettled.pop();
        for earlier in self.unsettled.drain(..) {
            (self.settled)(Some(earlier));
        }
        (self.settled)(latest);
    }

    /// What the audit stream still brings was not lost by a source that has ended.
    fn ebpf_ended(&mut self) {
        self.ebpf_over = true;
        self.merger.ended(Source::Ebpf);
        self.recovered.ended(Source::Ebpf);
    }

    /// When `source` is to be asked whether it has anything more.
    fn deadline(&self, source: Source) -> Option<Instant> {
        [self.merger.deadline(source), self.recovered.deadline(source)].into_iter().flatten().min()
    }

    fn note_drained(&mut self, source: Source, batch: &Batch) {
        if let Some(at) = batch.drained() {
            self.merger.drained(source, at);
            self.recovered.drained(source, at);
        }
    }

    fn ebpf(&mut self, batch: &Batch, arena: &mut Bump) {
        let wall_minus_boot = wall_minus_boot();
        self.begin(batch.iter().filter_map(record::wire_stamp));
        for raw in batch.iter() {
            arena.reset();
            tracing::trace!(record = %raw.escape_ascii(), "from the ring");
            let decoded = match record::decode_cgroup(raw) {
                Ok(Some(change)) => {
                    self.resolver.cgroup(change, Instant::now());
                    continue;
                }
                Ok(None) => record::decode_wire(raw, wall_minus_boot, arena),
                Err(error) => Err(error),
            };
            match decoded {
                Ok(violation) => {
                    self.ledger.received(Source::Ebpf, 1);
                    if self.recovered.has(&violation, Source::Ebpf) {
                        continue;
                    }
                    let who = self.resolver.resolve(&violation, wall_minus_boot, Instant::now());
                    let seen_by = self.merger.ebpf(&violation, Instant::now());
                    let raw = Raw { source: Source::Ebpf, record: raw, wall_minus_boot };
                    self.count(&violation, raw, seen_by, who);
                }
                Err(error) => {
                    tracing::debug!(%error, record = %raw.escape_ascii(), "wire record does not decode");
                    self.ledger.lose(Loss::EbpfMalformed, 1);
                }
            }
        }
    }

    fn audit(&mut self, batch: &Batch, arena: &mut Bump) {
        let wall_minus_boot = wall_minus_boot();
        if self.merger.is_of_one() {
            self.begin(batch.iter().filter_map(audit_stamp));
        }
        for raw in batch.iter() {
            arena.reset();
            let Some(violation) = self.parse_audit(raw, arena) else { continue };
            self.ledger.received(Source::Audit, 1);
            let whose = self.whose(violation.audit_id);
            if whose == Whose::Theirs || self.recovered.has(violation, Source::Audit) {
                continue;
            }
            if whose == Whose::InDoubt {
                self.ledger.lose(Loss::LogInDoubt, 1);
                continue;
            }
            let (mut evicted, now) = (None, Instant::now());
            let sighting = self.merger.audit(
                violation,
                raw,
                now,
                || self.resolver.resolve(violation, wall_minus_boot, now),
                |parked| evicted = Some(parked),
            );
            match sighting {
                Sighting::Count(who) => {
                    self.count(violation, audit(raw), SeenBy::only(Source::Audit), who);
                }
                Sighting::Merged | Sighting::Waits | Sighting::Before => {}
                Sighting::Overflow => self.ledger.lose(Loss::MergeFull, 1),
            }
            if let Some(waiting) = evicted {
                self.count_waiting(waiting, arena);
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
        while let Some(waiting) = self.merger.given_up() {
            self.count_waiting(waiting, arena);
        }
        self.resolver.expire(Instant::now());
        if self.recovered.is_over() {
            self.since = None;
        }
        self.ledger.set_lost(Loss::AuditMissed, self.merger.missed_by_audit());
    }

    /// Counts a record of the audit stream that eBPF did not see, if there is one that it did not see.
    fn count_waiting(&mut self, waiting: Parked, arena: &mut Bump) {
        arena.reset();
        let Some(violation) = self.parse_audit(&waiting.record, arena) else { return };
        let theirs = violation.time.is_some_and(|time| time >= self.both_since);
        if theirs && self.ebpf_over && self.pinned {
            // The programs have stayed and see it: the next agent counts it.
            return;
        }
        if theirs && !self.ebpf_over {
            if !self.misses_some() {
                self.ledger.lose(Loss::AuditLate, 1);
                return;
            }
            self.ledger.lose(Loss::EbpfMissed, 1);
        }
        self.count(violation, audit(&waiting.record), SeenBy::only(Source::Audit), waiting.who);
    }

    /// Whether the eBPF source has lost more than the audit stream has brought since. If not, a record that
    /// nobody waits for is of a violation that was counted long ago: the audit thread can lag without end.
    fn misses_some(&self) -> bool {
        // Runs that the kernel skips are told for trampolines alone.
        if self.ledger.hooks().iter().any(|hook| hook.attached == Attached::Kprobe) {
            return true;
        }
        // It has waited for longer than this, so what it was lost by is in the counters; reading them for each
        // record of a storm would cost more than the records.
        self.ledger.refresh_older_than(COUNTERS_AGE);
        let lost = self.ledger.lost_by_ebpf().saturating_sub(self.lost_before);
        lost > self.ledger.lost_total(Loss::EbpfMissed)
    }

    /// Counts `violation`, or has it wait for a moment until its container has a name.
    fn count(&mut self, violation: &Violation<'_>, raw: Raw<'_>, seen_by: SeenBy, who: Who) {
        let Who { mut subject, mut peer } = who;
        self.begin(violation.audit_id);
        self.ledger.identity().count(&subject);
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

/// The stamp of a record of the audit stream.
fn audit_stamp(record: &[u8]) -> Option<AuditId> {
    let (_, text) = split_record(record)?;
    record::split_stamp(text).map(|(stamp, _)| stamp)
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
