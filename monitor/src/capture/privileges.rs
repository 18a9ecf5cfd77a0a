//! What the agent may do, and how to say what it may not.

use caps::{CapSet, Capability};

/// The capabilities of `wanted` that this process lacks, by their names.
pub(super) fn missing(wanted: &[Capability]) -> Vec<String> {
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    wanted.iter().filter(|cap| !effective.contains(cap)).map(ToString::to_string).collect()
}
