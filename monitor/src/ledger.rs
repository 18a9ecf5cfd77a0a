//! The books: what was received, what was lost and where, which sources and hooks work.
//!
//! Every place that can drop has a row here, and every row exists at 0 from the start, so that a reader of
//! `/metrics` alone can do the sum.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::capture::Source;
use crate::identity::counts::Counts;
use crate::identity::pods::Pods;

/// A place where violations can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The ring buffer had no room (`bpf_ringbuf_output` failed).
    RingFull,
    /// The kernel skipped a run of a program because it was already running on that CPU.
    ProgramBusy,
    /// The ring was filling up, and the violation's cgroup had had its share of it.
    OverShare,
    /// The kernel would not let the program read the violation.
    Unreadable,
    /// No agent's program was behind the anchor.
    Unheard,
    /// An agent of another version wrote it into the pinned ring.
    WireVersion,
    /// A wire record that does not decode.
    EbpfMalformed,
    /// The queue between the eBPF source and the pipeline was full.
    EbpfQueueFull,
    /// The netlink socket's receive buffer was full (the socket's own drop counter).
    SocketFull,
    /// A message whose sender was not the kernel.
    UntrustedSender,
    /// An audit record that does not parse.
    AuditMalformed,
    /// A violation that a user process reported which is not believed.
    AuditUntrusted,
    /// The queue between the audit source and the pipeline was full.
    AuditQueueFull,
    /// Counted, but only the audit stream carried it.
    EbpfMissed,
    /// Counted, but the audit stream did not carry it although audit had built the record: the kernel's
    /// rate limit or backlog, or this agent's socket, dropped it.
    AuditMissed,
    /// Counted when eBPF told of it; the room for audit stamps was full, so that the audit stream's record
    /// cannot be recognised as the same.
    StampsFull,
    /// Counted when eBPF told of it; the audit stream's record came when nobody waited for it any more.
    AuditLate,
    /// The kernel's audit lost the record (`lost` of `auditctl -s`); eBPF may have seen the violation.
    AuditKernel,
    /// The room for sightings that await their partner was full: a record of the audit stream that may
    /// have been counted already was dropped rather than counted twice.
    MergeFull,
    /// An event that the eBPF source told first was counted, and not printed: the reader was too slow.
    EbpfOutputFull,
    /// An event that the audit source told first was counted, and not printed: the reader was too slow.
    AuditOutputFull,
    /// An event that the eBPF source told first was counted, and not printed: writing failed.
    EbpfOutputFailed,
    /// An event that the audit source told first was counted, and not printed: writing failed.
    AuditOutputFailed,
    /// An event that the audit source alone told of was counted, and not printed: the agent was killed.
    AuditOutputKilled,
}

impl Loss {
    /// All places, in the order in which they are declared.
    pub const ALL: [Self; 24] = [
        Self::RingFull,
        Self::ProgramBusy,
        Self::OverShare,
        Self::Unreadable,
        Self::Unheard,
        Self::WireVersion,
        Self::EbpfMalformed,
        Self::EbpfQueueFull,
        Self::SocketFull,
        Self::UntrustedSender,
        Self::AuditMalformed,
        Self::AuditUntrusted,
        Self::AuditQueueFull,
        Self::EbpfMissed,
        Self::AuditMissed,
        Self::StampsFull,
        Self::AuditLate,
        Self::AuditKernel,
        Self::MergeFull,
        Self::EbpfOutputFull,
        Self::AuditOutputFull,
        Self::EbpfOutputFailed,
        Self::AuditOutputFailed,
        Self::AuditOutputKilled,
    ];

    /// Where the eBPF source loses violations: what the programs saw is received, or lost at one of these.
    /// The audit stream may still bring what was lost here; then it is counted, and in [`Self::EbpfMissed`].
    pub const OF_EBPF: [Self; 8] = [
        Self::RingFull,
        Self::ProgramBusy,
        Self::OverShare,
        Self::Unreadable,
        Self::Unheard,
        Self::WireVersion,
        Self::EbpfMalformed,
        Self::EbpfQueueFull,
    ];

    /// The labels `source`, `stage` and `reason` of this place.
    pub const fn labels(self) -> (Source, &'static str, &'static str) {
        match self {
            Self::RingFull => (Source::Ebpf, "capture", "ring_full"),
            Self::ProgramBusy => (Source::Ebpf, "capture", "program_busy"),
            Self::OverShare => (Source::Ebpf, "capture", "over_share"),
            Self::Unreadable => (Source::Ebpf, "capture", "unreadable"),
            Self::Unheard => (Source::Ebpf, "capture", "unheard"),
            Self::WireVersion => (Source::Ebpf, "record", "wire_version"),
            Self::EbpfMalformed => (Source::Ebpf, "record", "malformed"),
            Self::EbpfQueueFull => (Source::Ebpf, "capture", "queue_full"),
            Self::SocketFull => (Source::Audit, "capture", "socket_full"),
            Self::UntrustedSender => (Source::Audit, "capture", "untrusted_sender"),
            Self::AuditMalformed => (Source::Audit, "record", "malformed"),
            Self::AuditUntrusted => (Source::Audit, "record", "untrusted"),
            Self::AuditQueueFull => (Source::Audit, "capture", "queue_full"),
            Self::EbpfMissed => (Source::Ebpf, "merge", "missed"),
            Self::AuditMissed => (Source::Audit, "merge", "missed"),
            Self::StampsFull => (Source::Ebpf, "merge", "stamps_full"),
            Self::AuditLate => (Source::Audit, "merge", "late"),
            Self::AuditKernel => (Source::Audit, "kernel", "lost"),
            Self::MergeFull => (Source::Audit, "merge", "room_full"),
            Self::EbpfOutputFull => (Source::Ebpf, "output", "queue_full"),
            Self::AuditOutputFull => (Source::Audit, "output", "queue_full"),
            Self::EbpfOutputFailed => (Source::Ebpf, "output", "write_failed"),
            Self::AuditOutputFailed => (Source::Audit, "output", "write_failed"),
            Self::AuditOutputKilled => (Source::Audit, "output", "killed"),
        }
    }
}

/// How a kernel function was hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// By a BPF trampoline at entry.
    Fentry,
    /// By a BPF trampoline at return.
    Fexit,
    /// By a kprobe.
    Kprobe,
    /// By a raw tracepoint.
    RawTracepoint,
    /// Not at all.
    No,
}

impl Attached {
    /// The word used in labels and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::RawTracepoint => "raw_tracepoint",
            Self::No => "none",
        }
    }
}

/// The tracepoints of cgroups that come and go.
pub const CGROUP_HOOKS: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];

/// One hooked (or not hooked) kernel function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The kernel function.
    pub function: &'static str,
    /// How it is hooked.
    pub attached: Attached,
    /// Why not, or why not the better way; empty when all is well.
    pub reason: String,
}

#[derive(Debug, Default)]
struct SourceBook {
    up: AtomicBool,
    received: AtomicU64,
    why_down: Mutex<String>,
}

/// How often the kernel skipped the program, told with a delay: between the skip and the spare that makes up
/// for it, a violation is not lost.
#[derive(Debug, Default)]
struct Skipped {
    settled: u64,
    latest: Option<(u64, Instant)>,
}

impl Skipped {
    const DELAY: Duration = Duration::from_secs(1);

    fn note(&mut self, total: u64, now: Instant) {
        match self.latest {
            Some((_, at)) if now < at + Self::DELAY => {}
            latest => {
                self.settled = latest.map_or(0, |(total, _)| total);
                self.latest = Some((total, now));
            }
        }
    }
}

/// A closure that brings kernel-side counters into the ledger; called before a scrape.
pub type Refresh = Box<dyn Fn(&Ledger) + Send + Sync>;

/// The books of one agent. Shared by all stages; reading and writing never blocks a source.
#[derive(Default)]
pub struct Ledger {
    sources: [SourceBook; Source::ALL.len()],
    losses: [AtomicU64; Loss::ALL.len()],
    /// What the programs saw.
    seen: AtomicU64,
    /// How often the kernel skipped the program, and how often a spare told what it was skipped for.
    skipped: Mutex<Skipped>,
    rescued: AtomicU64,
    hooks: Mutex<Vec<Hook>>,
    refresh: Mutex<Vec<Refresh>>,
    identity: Counts,
    pods: OnceLock<Arc<Pods>>,
}

impl Ledger {
    /// Counts `n` records as received from `source`.
    pub fn received(&self, source: Source, n: u64) {
        self.book(source).received.fetch_add(n, Ordering::Relaxed);
    }

    /// How many records `source` has delivered.
    pub fn received_total(&self, source: Source) -> u64 {
        self.book(source).received.load(Ordering::Relaxed)
    }

    /// Counts `n` records as lost at `place`.
    pub fn lose(&self, place: Loss, n: u64) {
        self.loss(place).fetch_add(n, Ordering::Relaxed);
    }

    /// Takes over a counter that the kernel keeps and that only grows.
    pub fn set_lost(&self, place: Loss, total: u64) {
        self.loss(place).fetch_max(total, Ordering::Relaxed);
    }

    /// How many records were lost at `place`.
    pub fn lost_total(&self, place: Loss) -> u64 {
        self.loss(place).load(Ordering::Relaxed)
    }

    /// Takes over how many violations the programs saw.
    pub fn set_seen(&self, total: u64) {
        self.seen.fetch_max(total, Ordering::Relaxed);
    }

    /// Takes over how often the kernel skipped the program.
    pub fn set_skipped(&self, total: u64) {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).note(total, Instant::now());
    }

    /// Takes over how many of those violations a spare told.
    pub fn set_rescued(&self, total: u64) {
        self.rescued.fetch_max(total, Ordering::Relaxed);
    }

    /// How many violations the programs saw, as far as the last [`Self::refresh`] told.
    pub fn seen_total(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// How many violations the eBPF source lost, those included that the audit stream brought all the same.
    pub fn lost_by_ebpf(&self) -> u64 {
        Loss::OF_EBPF.iter().map(|loss| self.lost_total(*loss)).sum()
    }

    /// Says that `source` works.
    pub fn source_up(&self, source: Source) {
        let book = self.book(source);
        book.why_down.lock().unwrap_or_else(PoisonError::into_inner).clear();
        book.up.store(true, Ordering::Relaxed);
    }

    /// Says that `source` does not work, and why.
    pub fn source_down(&self, source: Source, why: impl Into<String>) {
        let book = self.book(source);
        *book.why_down.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
        book.up.store(false, Ordering::Relaxed);
    }

    /// Whether `source` works; otherwise why not (empty when it was not asked for or has not started).
    pub fn source_state(&self, source: Source) -> Result<(), String> {
        let book = self.book(source);
        if book.up.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(book.why_down.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// How identities were found.
    pub fn identity(&self) -> &Counts {
        &self.identity
    }

    /// Notes how a kernel function was hooked.
    pub fn set_hooks(&self, hooks: Vec<Hook>) {
        *self.hooks.lock().unwrap_or_else(PoisonError::into_inner) = hooks;
    }

    /// Whether the kernel tells of every cgroup that is made or removed, and has been heard each time.
    pub fn hears_of_cgroups(&self) -> bool {
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = |function: &&str| {
            hooks.iter().any(|hook| hook.function == *function && hook.attached != Attached::No)
        };
        CGROUP_HOOKS.iter().all(attached) && self.identity().missed_total() == 0
    }

    /// How the kernel functions are hooked.
    pub fn hooks(&self) -> Vec<Hook> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a closure that reads kernel-side counters.
    pub fn on_refresh(&self, refresh: Refresh) {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).push(refresh);
    }

    /// Reads the kernel-side counters; call before reading losses.
    pub fn refresh(&self) {
        for refresh in self.refresh.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh(self);
        }
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner).settled;
        self.set_lost(Loss::ProgramBusy, skipped.saturating_sub(self.rescued.load(Ordering::Relaxed)));
    }

    /// Has the pods tell of themselves.
    pub fn set_pods(&self, pods: Arc<Pods>) {
        // There is one set of them in an agent.
        let _ = self.pods.set(pods);
    }

    /// The pods of this node, once they are looked for.
    pub fn pods(&self) -> Option<&Pods> {
        self.pods.get().map(|pods| &**pods)
    }

    fn book(&self, source: Source) -> &SourceBook {
        let [ebpf, audit] = &self.sources;
        match source {
            Source::Ebpf => ebpf,
            Source::Audit => audit,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    fn loss(&self, place: Loss) -> &AtomicU64 {
        &self.losses[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_a_loss_only_when_no_spare_made_up_for_it() {
        let start = Instant::now();
        let mut skipped = Skipped::default();
        for (seconds, total, settled) in [(0, 5, 0), (0, 7, 0), (1, 9, 5), (2, 9, 9), (3, 9, 9)] {
            skipped.note(total, start + Duration::from_secs(seconds));
            assert_eq!(skipped.settled, settled, "after {seconds} s");
        }
    }
}
