//! Kernel: raw records and the moment they arrived. A source drains the kernel and never waits for the
//! stages behind it: what they cannot take is dropped, newest first, and counted.

pub mod audit;
mod batch;
#[cfg(feature = "ebpf")]
pub mod ebpf;
mod privileges;

use std::fmt;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::ledger::{Ledger, Loss};

pub use batch::Batch;

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

/// Hands a batch to the pipeline, or counts its records as lost when the queue is full. Never waits.
fn deliver(batch: Batch, to: &Sender<Batch>, ledger: &Ledger, on_full: Loss) {
    if batch.is_empty() {
        return;
    }
    if let Err(TrySendError::Full(batch) | TrySendError::Closed(batch)) = to.try_send(batch) {
        ledger.lose(on_full, batch.len() as u64);
    }
}
