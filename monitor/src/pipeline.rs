//! The way an event takes, from the sources' batches to the outputs.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bumpalo::Bump;

use crate::capture::audit::split_record;
use crate::capture::{Batch, Both, Inlet, Receipt, Source};
use crate::ledger::{Attached, Ledger, Loss};
use crate::merge::{Event, Merger, SeenBy, Sighting, Streams};
use crate::node;
use crate::record::{self, Origin, ParseError, Senders, Violation};

/// How long to wait for a source's answer before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

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
    output: O,
    settled: Box<dyn FnMut(Option<Receipt>) + Send>,
}

impl<O: FnMut(&Event<'_>)> Pipeline<O> {
    /// A pipeline into `output`, which is called once for each violation. `both` says since when two sources
    /// see the same violations, if they do.
    pub fn new(ledger: Arc<Ledger>, both: Option<Both>, output: O) -> Self {
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
            output,
            settled: Box::new(drop),
        }
    }

    /// Has `settled` called whenever all events of the batches so far have been told to the output, with the
    /// receipt of the latest batch if it has one. Dropping the receipt releases the batch.
    pub fn settling(mut self, settled: impl FnMut(Option<Receipt>) + Send + 'static) -> Self {
        self.settled = Box::new(settled);
        self
    }

    /// Runs until both sources have ended, then counts what still waits for a second sighting.
    pub async fn run(mut self, mut ebpf: Inlet, mut audit: Inlet) {
        let (mut ebpf_open, mut audit_open) = (true, true);
        let mut arena = Bump::new();
        let mut asked = Instant::now();
        while ebpf_open || audit_open {
            let deadlines = Source::ALL.map(|source| self.merger.deadline(source));
            let next = deadlines.into_iter().flatten().min().map(|deadline| deadline.max(asked + ASK_AGAIN));
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
            }
            self.give_up(&mut arena);
            (self.settled)(receipt);
        }
    }

    /// What the audit stream still brings was not lost by a source that has ended.
    fn ebpf_ended(&mut self) {
        self.ebpf_over = true;
        self.merger.ended(Source::Ebpf);
    }

    fn note_drained(&mut self, source: Source, batch: &Batch) {
        if let Some(at) = batch.drained() {
            self.merger.drained(source, at);
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
                    self.count(&violation, seen_by);
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
                Sighting::Count => self.count(violation, SeenBy::only(Source::Audit)),
                Sighting::Merged | Sighting::Waits | Sighting::Before => {}
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
        while let Some(waiting) = self.merger.given_up() {
            self.count_waiting(&waiting, arena);
        }
        self.ledger.set_lost(Loss::AuditMissed, self.merger.missed_by_audit());
    }

    /// Counts a record of the audit stream that eBPF did not see, if there is one that it did not see.
    fn count_waiting(&mut self, raw: &[u8], arena: &mut Bump) {
        arena.reset();
        let Some(violation) = self.parse_audit(raw, arena) else { return };
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
        self.count(violation, SeenBy::only(Source::Audit));
    }

    /// Whether the eBPF source has lost more than the audit stream has brought since. If not, a record that
    /// nobody waits for is of a violation that was counted long ago: the audit thread can lag without end.
    fn misses_some(&self) -> bool {
        // Runs that the kernel skips are told for trampolines alone.
        if self.ledger.hooks().iter().any(|hook| hook.attached == Attached::Kprobe) {
            return true;
        }
        self.ledger.refresh();
        let lost = self.ledger.lost_by_ebpf().saturating_sub(self.lost_before);
        lost > self.ledger.lost_total(Loss::EbpfMissed)
    }

    fn count(&mut self, violation: &Violation<'_>, seen_by: SeenBy) {
        (self.output)(&Event::unresolved(violation, seen_by));
    }
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
