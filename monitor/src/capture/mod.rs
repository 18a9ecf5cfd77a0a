//! Kernel: raw records and the moment they arrived. A source drains the kernel and never waits for the
//! stages behind it: what they cannot take stays in the ring, or is dropped, newest first, and counted.

pub mod audit;
pub mod backlog;
mod batch;
#[cfg(feature = "ebpf")]
pub mod ebpf;
pub mod file;
mod outlet;
mod privileges;
mod receipts;
pub mod silent;
mod start;

use std::fmt;

pub use batch::Batch;
pub use outlet::{Inlet, Outlet, outlet};
pub use receipts::Receipt;
pub use silent::{SilentDenial, SilentReader, SilentReason};
pub use start::{Both, Choice, Options, Streams, start};

/// Up to where an agent that was killed had printed a ring, though it could not release it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The kernel's id of the ring.
    pub ring: u32,
    /// The position behind the last record.
    pub position: usize,
}

/// A way by which violations reach the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The eBPF programs' ring buffer.
    Ebpf,
    /// The audit netlink multicast group.
    Audit,
}

impl Source {
    /// All sources, in the order in which they are declared.
    pub const ALL: [Self; 2] = [Self::Ebpf, Self::Audit];

    /// The word used for this source in labels, JSON and flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
