//! Once: several sightings of one violation become one event.

mod merger;
#[cfg(test)]
mod tests;
mod waiting;

use crate::capture::Source;
use crate::record::Violation;

pub use merger::{Merger, Sighting};

/// Which sources saw a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenBy {
    /// The eBPF programs saw it.
    pub ebpf: bool,
    /// The audit stream carried it.
    pub audit: bool,
}

impl SeenBy {
    /// Seen by `source` alone.
    pub const fn only(source: Source) -> Self {
        match source {
            Source::Ebpf => Self { ebpf: true, audit: false },
            Source::Audit => Self { ebpf: false, audit: true },
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
}
