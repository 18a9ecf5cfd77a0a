//! How identities were found, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{How, Identity, Unknown};

/// Why a cgroup that was known is known no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// It has been gone for long enough.
    Expired,
    /// There was no room for all those that are gone.
    GoneLimit,
    /// There was no room for all those that are there.
    Limit,
}

impl Evicted {
    /// All reasons, in the order in which they are declared.
    pub const ALL: [Self; 3] = [Self::Expired, Self::GoneLimit, Self::Limit];

    /// The word used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::GoneLimit => "gone_limit",
            Self::Limit => "limit",
        }
    }
}

impl How {
    /// One of each; the reason of `Unknown` is told elsewhere.
    pub const KINDS: [Self; 5] =
        [Self::Cgroup, Self::Proc, Self::Profile, Self::Host, Self::Unknown(Unknown::NotLookedFor)];

    const fn index(self) -> usize {
        match self {
            Self::Cgroup => 0,
            Self::Proc => 1,
            Self::Profile => 2,
            Self::Host => 3,
            Self::Unknown(_) => 4,
        }
    }
}

/// The numbers of one agent.
#[derive(Debug, Default)]
pub struct Counts {
    how: [AtomicU64; How::KINDS.len()],
    unknown: [AtomicU64; Unknown::ALL.len()],
    own: AtomicU64,
    live: AtomicU64,
    gone: AtomicU64,
    evicted: [AtomicU64; Evicted::ALL.len()],
    walks: AtomicU64,
    missed: AtomicU64,
    missed_in_kernel: AtomicU64,
    targets_missed: AtomicU64,
}

impl Counts {
    /// Counts how the subject of an event was found, once an event.
    #[expect(clippy::indexing_slicing, reason = "the arrays have one slot for each variant")]
    pub fn count(&self, subject: &Identity) {
        self.how[subject.how.index()].fetch_add(1, Ordering::Relaxed);
        if let How::Unknown(why) = subject.how {
            self.unknown[why as usize].fetch_add(1, Ordering::Relaxed);
        }
        if subject.own {
            self.own.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events' subjects were found this way.
    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    pub fn found(&self, how: How) -> u64 {
        self.how[how.index()].load(Ordering::Relaxed)
    }

    /// How many events' subjects were not found, for this reason.
    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    pub fn not_found(&self, why: Unknown) -> u64 {
        self.unknown[why as usize].load(Ordering::Relaxed)
    }

    /// How many events were about this agent itself.
    pub fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    /// Notes how many cgroups are known: those that are there, and those that are gone.
    pub fn set_known(&self, live: usize, gone: usize) {
        self.live.store(live as u64, Ordering::Relaxed);
        self.gone.store(gone as u64, Ordering::Relaxed);
    }

    /// How many cgroups are known: those that are there, and those that are gone.
    pub fn known(&self) -> [u64; 2] {
        [&self.live, &self.gone].map(|number| number.load(Ordering::Relaxed))
    }

    /// Counts a cgroup that is known no more.
    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    pub fn evict(&self, why: Evicted) {
        self.evicted[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many cgroups are known no more, for this reason.
    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    pub fn evicted(&self, why: Evicted) -> u64 {
        self.evicted[why as usize].load(Ordering::Relaxed)
    }

    /// Counts a walk through the cgroup tree.
    pub fn walk(&self) {
        self.walks.fetch_add(1, Ordering::Relaxed);
    }

    /// How many times the cgroup tree was walked through.
    pub fn walks(&self) -> u64 {
        self.walks.load(Ordering::Relaxed)
    }

    /// Counts cgroups that were made or removed and whose records were dropped on their way.
    pub fn missed(&self, number: u64) {
        self.missed.fetch_add(number, Ordering::Relaxed);
    }

    /// Takes over the kernel side's number of them.
    pub fn set_missed_in_kernel(&self, total: u64) {
        self.missed_in_kernel.fetch_max(total, Ordering::Relaxed);
    }

    /// Takes over the kernel side's number of targets that could not be noted.
    pub fn set_targets_missed(&self, total: u64) {
        self.targets_missed.fetch_max(total, Ordering::Relaxed);
    }

    /// Of how many signals and ptrace checks the target could not be noted.
    pub fn targets_missed(&self) -> u64 {
        self.targets_missed.load(Ordering::Relaxed)
    }

    /// How many cgroups were made or removed without this agent being told.
    pub fn missed_total(&self) -> u64 {
        self.missed.load(Ordering::Relaxed) + self.missed_in_kernel.load(Ordering::Relaxed)
    }
}
