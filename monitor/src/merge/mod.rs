//! Once: several sightings of one violation become one event.

mod merger;
mod recovered;
#[cfg(test)]
mod tests;
mod waiting;

use crate::capture::Source;
use crate::identity::{Identity, Unknown};
use crate::record::Violation;

pub use merger::{Merger, Parked, Sighting, Streams};
pub use recovered::Recovered;

/// Which sources saw a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenBy {
    /// The eBPF programs saw it.
    pub ebpf: bool,
    /// The audit stream carried it.
    pub audit: bool,
    /// It was read from a log when the agent started: it is from a time when no agent ran.
    pub log: bool,
}

impl SeenBy {
    /// Recovered from a log.
    pub const LOG: Self = Self { ebpf: false, audit: false, log: true };

    /// Seen by `source` alone.
    pub const fn only(source: Source) -> Self {
        match source {
            Source::Ebpf => Self { ebpf: true, audit: false, log: false },
            Source::Audit => Self { ebpf: false, audit: true, log: false },
        }
    }
}

/// One violation, counted once.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub violation: &'a Violation<'a>,
    /// The sources that had seen it when it was counted.
    pub seen_by: SeenBy,
    /// Whose it is: the confined process that the profile decided about.
    pub subject: &'a Identity,
    /// The other side of a signal or ptrace, where it is known.
    pub peer: Option<&'a Identity>,
}

/// Of a record that nobody looks up.
static NOT_LOOKED_FOR: Identity = Identity::unknown(Unknown::NotLookedFor);

impl<'a> Event<'a> {
    /// An event of which it is not asked whose it is.
    pub fn unresolved(violation: &'a Violation<'a>, seen_by: SeenBy) -> Self {
        Self { violation, seen_by, subject: &NOT_LOOKED_FOR, peer: None }
    }
}
