//! Denials that AppArmor makes without a record, as the kernel side adds them up.

use std::time::{Duration, SystemTime};

use aa_monitor_ebpf::reason;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::record::Class;

/// How often the kernel's tallies are read. A container that ends before is known for longer than this.
const EVERY: Duration = Duration::from_secs(1);

/// Why a denial left no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SilentReason {
    /// An explicit `deny` rule.
    QuietRule,
    /// A capability: an explicit rule, or one that was reported a moment ago and is cached.
    Capability,
    /// A capability check that asked not to be reported.
    NoAudit,
    /// The kernel's or the profile's audit mode.
    AuditMode,
}

impl SilentReason {
    /// The word used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QuietRule => "quiet_rule",
            Self::Capability => "capability_quiet_or_cached",
            Self::NoAudit => "no_audit",
            Self::AuditMode => "audit_mode",
        }
    }

    /// From the wire; `None` for a number that the programs do not use.
    pub(super) fn of_wire(number: u8) -> Option<Self> {
        match number {
            reason::QUIET_RULE => Some(Self::QuietRule),
            reason::CAPABILITY => Some(Self::Capability),
            reason::NO_AUDIT => Some(Self::NoAudit),
            reason::AUDIT_MODE => Some(Self::AuditMode),
            _ => None,
        }
    }
}

/// Denials that have profile, cgroup, operation, capability and reason in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentDenial {
    /// What was refused.
    pub class: Class,
    /// The kernel's word for it; empty for mounts and capabilities.
    pub operation: Vec<u8>,
    /// The profile.
    pub profile: Vec<u8>,
    /// Its policy namespace; empty for the root one.
    pub namespace: Vec<u8>,
    /// The first object that was refused; empty where there is none.
    pub example: Vec<u8>,
    /// The number of the capability.
    pub capability: Option<u32>,
    /// cgroup v2 id of the task: whose it was.
    pub cgroup_id: u64,
    /// Why there is no record.
    pub reason: SilentReason,
    /// How many more there were since the last reading.
    pub count: u64,
    /// When they were read.
    pub read: SystemTime,
}

/// What grew since it was called last.
pub type SilentReader = Box<dyn FnMut() -> Vec<SilentDenial> + Send>;

/// Has what the kernel adds up read again and again until `stop`, and once more then. Each reading is sent, also
/// one in which nothing grew. What nobody takes yet stays in the kernel. `None` when nothing is added up.
pub fn collect(ledger: &Ledger, stop: CancellationToken) -> Option<mpsc::Receiver<Vec<SilentDenial>>> {
    let mut reader = ledger.take_silent_reader()?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                _ = tick.tick() => false,
                () = stop.cancelled() => true,
            };
            // Thousands of calls when there is much, and a wait for the kernel when old tallies are removed.
            let read = tokio::task::spawn_blocking(move || {
                let grown = reader();
                (reader, grown)
            });
            let Ok((again, grown)) = read.await else {
                tracing::error!("reading the silent denials failed: no more of them are counted");
                return;
            };
            reader = again;
            if sender.send(grown).await.is_err() || last {
                return;
            }
        }
    });
    Some(receiver)
}
