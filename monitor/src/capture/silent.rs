//! Denials that AppArmor makes without a record, as the kernel side adds them up.

use aa_monitor_ebpf::reason;

use crate::record::Class;

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
    /// How often, since the programs were loaded.
    pub count: u64,
}
