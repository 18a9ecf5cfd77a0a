//! The books: what was received, what was lost and where, which sources and hooks work.
//!
//! Every place that can drop has a row here, and every row exists at 0 from the start, so that a reader of
//! `/metrics` alone can do the sum.

mod loss;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use self::loss::Loss;
use crate::capture::{SilentReader, Source};
use crate::identity::counts::Counts;
use crate::identity::pods::Pods;

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

/// How often the kernel skipped a program, and how often a spare did what it was skipped for.
#[derive(Debug, Default)]
pub struct Runs {
    skipped: Mutex<Skipped>,
    rescued: AtomicU64,
}

impl Runs {
    /// Takes over how often the kernel skipped the program.
    pub fn set_skipped(&self, total: u64) {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).note(total, Instant::now());
    }

    /// Takes over how often a spare did what it was skipped for.
    pub fn set_rescued(&self, total: u64) {
        self.rescued.fetch_max(total, Ordering::Relaxed);
    }

    /// How often nobody did it.
    pub fn lost(&self) -> u64 {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner).settled;
        skipped.saturating_sub(self.rescued.load(Ordering::Relaxed))
    }
}

/// What the kernel's audit says of itself, where it may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditStatus {
    /// Records that wait for the kernel's audit thread.
    pub backlog: u32,
    /// How many may; more are lost. 0 is no limit.
    pub backlog_limit: u32,
}

/// What an agent leaves to the next one, and could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFailure {
    /// The lock that keeps a second agent out.
    Lock,
    /// The journal of what is being printed.
    Journal,
    /// The checkpoint of what was counted.
    Checkpoint,
}

impl StateFailure {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 3] = [Self::Lock, Self::Journal, Self::Checkpoint];

    /// The word used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Journal => "journal",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A closure that brings kernel-side counters into the ledger.
pub type Refresh = Box<dyn Fn(&Ledger) + Send + Sync>;

/// The books of one agent. Shared by all stages; reading and writing never blocks a source.
#[derive(Default)]
pub struct Ledger {
    sources: [SourceBook; Source::ALL.len()],
    losses: [AtomicU64; Loss::ALL.len()],
    /// What the programs saw.
    seen: AtomicU64,
    /// Of the program that tells violations, and of the one that notes their stamps.
    runs: Runs,
    stamp_runs: Runs,
    hooks: Mutex<Vec<Hook>>,
    silent: Mutex<Option<SilentReader>>,
    refresh: Mutex<Vec<Refresh>>,
    scrape: Mutex<Vec<Refresh>>,
    refreshed: Mutex<Option<Instant>>,
    audit_status: Mutex<Option<AuditStatus>>,
    recovered: AtomicU64,
    state_failures: [AtomicU64; StateFailure::ALL.len()],
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

    /// Skipped runs of the program that tells violations.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Skipped runs of the program that notes audit stamps.
    pub fn stamp_runs(&self) -> &Runs {
        &self.stamp_runs
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

    /// How the kernel functions are hooked.
    pub fn hooks(&self) -> Vec<Hook> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves who wants them a reader of denials without a record.
    pub fn set_silent_reader(&self, reader: SilentReader) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    }

    /// The reader of denials without a record, for the one that counts them; none when nothing adds them up.
    pub fn take_silent_reader(&self) -> Option<SilentReader> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds a closure that reads kernel-side counters, at a scrape and for the pipeline's decisions: it must
    /// not wait.
    pub fn on_refresh(&self, refresh: Refresh) {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner).push(refresh);
    }

    /// Adds a closure that is called before a scrape alone, and may wait for a moment.
    pub fn on_scrape(&self, refresh: Refresh) {
        self.scrape.lock().unwrap_or_else(PoisonError::into_inner).push(refresh);
    }

    /// Reads all that a scrape is to tell and that the kernel keeps.
    pub fn before_scrape(&self) {
        for refresh in self.scrape.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh(self);
        }
        self.refresh();
    }

    /// [`Self::refresh`], unless that was done less than `age` ago.
    pub fn refresh_older_than(&self, age: Duration) {
        let last = *self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= age) {
            self.refresh();
        }
    }

    /// Reads the kernel-side counters; call before reading losses.
    pub fn refresh(&self) {
        *self.refreshed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        for refresh in self.refresh.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh(self);
        }
        self.set_lost(Loss::ProgramBusy, self.runs.lost());
    }

    /// Counts an event that was read from a log at the start.
    pub fn recover(&self) {
        self.recovered.fetch_add(1, Ordering::Relaxed);
    }

    /// How many events were read from a log at the start.
    pub fn recovered_total(&self) -> u64 {
        self.recovered.load(Ordering::Relaxed)
    }

    /// Notes what the kernel's audit says of itself; `None` where it may not be asked.
    pub fn set_audit_status(&self, status: Option<AuditStatus>) {
        *self.audit_status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// What the kernel's audit said of itself last.
    pub fn audit_status(&self) -> Option<AuditStatus> {
        *self.audit_status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something in the state directory that could not be written.
    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    pub fn state_failed(&self, what: StateFailure) {
        self.state_failures[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it could not.
    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    pub fn state_failures(&self, what: StateFailure) -> u64 {
        self.state_failures[what as usize].load(Ordering::Relaxed)
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
