//! What this process may do, and what each permission would give.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use caps::{CapSet, Capability};

use super::Finding;
use crate::capture::Source;
use crate::config::SourceChoice;

/// Who wants a capability.
#[derive(Clone, Copy)]
enum For {
    /// This source, which does not work without.
    Source(Source),
    /// Every agent.
    All,
    /// Nobody, where all is as usual.
    Few,
}

/// Each capability that is of any use to the agent, who wants it, and what it gives.
const CAPABILITIES: [(Capability, For, &str); 7] = [
    (Capability::CAP_BPF, For::Source(Source::Ebpf), "loads eBPF programs and maps"),
    (Capability::CAP_PERFMON, For::Source(Source::Ebpf), "attaches eBPF programs to kernel functions"),
    (Capability::CAP_AUDIT_READ, For::Source(Source::Audit), "joins the audit stream"),
    (
        Capability::CAP_SYS_PTRACE,
        For::All,
        "reads which profile the processes of other users run under, and whose they are",
    ),
    (
        Capability::CAP_SYS_ADMIN,
        For::Few,
        "attaches kprobes where kernel.perf_event_paranoid is 3, and enters the initial network namespace",
    ),
    (Capability::CAP_NET_ADMIN, For::Few, "gives the audit socket a buffer beyond net.core.rmem_max"),
    (Capability::CAP_AUDIT_CONTROL, For::Few, "lets this check ask for the audit rate limit"),
];

/// One line each.
pub(super) fn capabilities(choice: SourceChoice) -> Vec<Finding> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    CAPABILITIES.iter().map(|row| capability(row, held.contains(&row.0), choice)).collect()
}

fn capability(
    (capability, wanted, gives): &(Capability, For, &'static str),
    held: bool,
    choice: SourceChoice,
) -> Finding {
    let check = name(*capability);
    let of_use = match wanted {
        For::Source(source) => choice.includes(*source),
        For::All => true,
        For::Few => false,
    };
    match (held, of_use) {
        (true, _) => Finding::ok(check, format!("held: {gives}")),
        (false, false) => Finding::ok(check, format!("not held, and not needed: it {gives}")),
        (false, true) => Finding::warn(
            check,
            format!("missing: {gives}"),
            format!("add {capability} to the container's capabilities or the unit's CapabilityBoundingSet"),
        ),
    }
}

const fn name(capability: Capability) -> &'static str {
    match capability {
        Capability::CAP_BPF => "cap bpf",
        Capability::CAP_PERFMON => "cap perfmon",
        Capability::CAP_AUDIT_READ => "cap audit_read",
        Capability::CAP_SYS_PTRACE => "cap sys_ptrace",
        Capability::CAP_SYS_ADMIN => "cap sys_admin",
        Capability::CAP_NET_ADMIN => "cap net_admin",
        Capability::CAP_AUDIT_CONTROL => "cap audit_ctl",
        _ => "cap",
    }
}

/// `PROC_PID_INIT_INO` (linux/proc_ns.h).
const INITIAL_PIDS: u64 = 0xEFFF_FFFC;

/// Where this process runs, and under what.
pub(super) fn process() -> [Finding; 2] {
    let own = |path: &str| fs::read_to_string(path).ok();
    // Reading one's own label asks no profile.
    let label = own("/proc/self/attr/apparmor/current").or_else(|| own("/proc/self/attr/current"));
    let pids = fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
    [confinement(label.as_deref().map(str::trim)), pid_namespace(pids.ok())]
}

fn confinement(label: Option<&str>) -> Finding {
    match label {
        None => Finding::ok("confinement", "none: no AppArmor label"),
        Some(label) if label.starts_with("unconfined") => Finding::ok("confinement", "unconfined"),
        Some(label) => Finding::warn(
            "confinement",
            format!("this process runs under {label}: each look at another's label is a denial of its own"),
            "run the agent unconfined (appArmorProfile: Unconfined)",
        ),
    }
}

fn pid_namespace(inode: Option<u64>) -> Finding {
    match inode {
        Some(INITIAL_PIDS) => Finding::ok("processes", "those of the node"),
        Some(_) => Finding::warn(
            "processes",
            "not in the node's pid namespace: the processes that records name are not seen",
            "set hostPID",
        ),
        None => Finding::warn("processes", "not known which pid namespace this is", "mount /proc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    #[test]
    fn what_is_missing_is_told_where_it_is_of_use() {
        let [bpf, .., audit_control] = &CAPABILITIES;
        for (row, held, choice, want) in [
            (bpf, true, SourceChoice::Auto, Status::Ok),
            (bpf, false, SourceChoice::Auto, Status::Warn),
            (bpf, false, SourceChoice::Ebpf, Status::Warn),
            (bpf, false, SourceChoice::Audit, Status::Ok),
            (audit_control, false, SourceChoice::Auto, Status::Ok),
        ] {
            let finding = capability(row, held, choice);
            assert_eq!((finding.status, finding.advice.is_some()), (want, want != Status::Ok), "{finding:?}");
        }
        assert!(CAPABILITIES.iter().all(|row| name(row.0) != "cap"), "each has its own word");
    }

    #[test]
    fn where_it_runs_is_judged() {
        for (label, want) in [
            (None, Status::Ok),
            (Some("unconfined"), Status::Ok),
            (Some("cri-containerd.apparmor.d (enforce)"), Status::Warn),
        ] {
            assert_eq!(confinement(label).status, want, "{label:?}");
        }
        for (inode, want) in [(Some(INITIAL_PIDS), Status::Ok), (Some(7), Status::Warn), (None, Status::Warn)]
        {
            assert_eq!(pid_namespace(inode).status, want, "{inode:?}");
        }
    }
}
