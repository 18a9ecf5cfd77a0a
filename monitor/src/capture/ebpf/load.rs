//! Loading and attaching. What can attach decides, not the kernel's version: each hook has a preferred way
//! and a second one, and an attach that works is the only proof.

use std::fs;
use std::io;

use aya::programs::{FEntry, FExit, KProbe, ProgramError, RawTracePoint};
use aya::{Btf as AyaBtf, Ebpf as Object, EbpfLoader, Endianness};
use caps::Capability;

use super::btf::{Btf, BtfError};
use super::offsets::{self, OffsetError};
use crate::capture::privileges;
use crate::ledger::{Attached, Hook};
use crate::node::Hierarchy;
use crate::sys;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// AppArmor's callback into an audit record that is being written.
const STAMP_HOOK: &str = "audit_pre";
/// Where every AppArmor record passes.
const EVENT_HOOK: &str = "common_lsm_audit";
/// Who is signalled or traced.
const TARGET_HOOKS: [&str; 3] =
    ["apparmor_task_kill", "apparmor_ptrace_access_check", "apparmor_ptrace_traceme"];
/// Cgroups that come and go.
const CGROUP_HOOKS: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/aa-monitor.bpf.o"));

/// Which ways of attaching to try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// Trampolines (fentry, fexit), then kprobes.
    #[default]
    Auto,
    /// kprobes only: for kernels whose trampolines misbehave, and to measure the difference.
    Kprobe,
}

/// How to load the programs.
#[derive(Clone, Copy, Debug)]
pub struct EbpfOptions {
    /// Size of the ring; rounded up to a power of two of at least a page.
    pub ring_bytes: u32,
    /// Ways of attaching.
    pub attach: Attach,
    /// Whose ids the cgroups in records are.
    pub cgroups: Hierarchy,
    /// Forward the programs' own log messages.
    pub log: bool,
}

/// Why there is no eBPF source.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not describe its structures.
    #[error("{VMLINUX}: {0}: the kernel needs CONFIG_DEBUG_INFO_BTF so that its structures can be found")]
    NoBtf(io::Error),
    /// The description does not parse.
    #[error("{VMLINUX}: {0}")]
    Btf(#[from] BtfError),
    /// AppArmor's structures are not there.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// Capabilities are missing.
    #[error("not permitted to load eBPF programs: {0}")]
    NotPermitted(String),
    /// Kernel lockdown forbids it.
    #[error("kernel lockdown is in confidentiality mode, in which no program may read kernel memory")]
    Lockdown,
    /// Nothing reports violations.
    #[error("cannot hook {EVENT_HOOK}: {0}")]
    NoHook(String),
    /// aya's own error.
    #[error("loading the eBPF programs: {0:#}")]
    Load(anyhow::Error),
}

/// The loaded programs.
pub(super) struct Loaded {
    pub(super) object: Object,
    pub(super) hooks: Vec<Hook>,
    /// Whether records carry their audit stamp.
    pub(super) stamps: bool,
}

/// Loads the programs and attaches them; the first record can arrive before this returns.
pub(super) fn load(options: EbpfOptions) -> Result<Loaded, LoadError> {
    let (layout, functions) = {
        let blob = fs::read(VMLINUX).map_err(LoadError::NoBtf)?;
        let btf = Btf::parse(&blob)?;
        let [kill, access, traceme] = TARGET_HOOKS;
        let functions = btf.functions(&[STAMP_HOOK, EVENT_HOOK, kill, access, traceme]);
        (offsets::resolve(&btf, options.cgroups)?, functions)
    };
    let log_level: u8 = if options.log { u8::MAX } else { 0 };
    // Nothing in the object needs the kernel's types (the offsets come as constants), and aya's parsed copy of
    // them takes tens of megabytes.
    let mut object = EbpfLoader::new()
        .btf(None)
        .override_global("LAYOUT", bytemuck::bytes_of(&layout), true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("EVENTS", ring_size(options.ring_bytes))
        .load(OBJECT)
        .map_err(|error| explain(error.into()))?;

    // Events last: one that is reported before its stamp can be noted would look like one that audit never
    // saw, and one whose target cannot be noted would have no victim.
    let mut hooks: Vec<Hook> =
        CGROUP_HOOKS.into_iter().map(|tracepoint| raw_tracepoint(&mut object, tracepoint)).collect();
    let (stamp_hook, event_hook) = {
        let btf = AyaBtf::parse(&functions, Endianness::default()).map_err(|error| explain(error.into()))?;
        for (function, ways) in TARGET_HOOKS.into_iter().zip(&TARGET_WAYS) {
            hooks.push(hook(&mut object, &btf, function, ways, options.attach));
        }
        let stamp = hook(&mut object, &btf, STAMP_HOOK, &STAMP_WAYS, options.attach);
        (stamp, hook(&mut object, &btf, EVENT_HOOK, &EVENT_WAYS, options.attach))
    };
    sys::trim_heap();
    if event_hook.attached == Attached::No {
        return Err(refused(event_hook.reason));
    }
    let stamps = stamp_hook.attached != Attached::No;
    hooks.extend([stamp_hook, event_hook]);
    Ok(Loaded { object, hooks, stamps })
}

/// A way of hooking a function, and what does it.
type Way = (Attached, fn(&mut Object, &AyaBtf) -> Result<(), ProgramError>);

const STAMP_WAYS: [Way; 2] = [
    (Attached::Fentry, |object, btf| {
        let program: &mut FEntry = program(object, "audit_pre_fentry")?;
        program.load(STAMP_HOOK, btf)?;
        program.attach().map(drop)
    }),
    (Attached::Kprobe, |object, _| kprobe(object, "audit_pre_kprobe", STAMP_HOOK)),
];

const EVENT_WAYS: [Way; 2] = [
    (Attached::Fexit, |object, btf| {
        let program: &mut FExit = program(object, "common_lsm_audit_fexit")?;
        program.load(EVENT_HOOK, btf)?;
        program.attach().map(drop)
    }),
    // The return first: an entry without a return would leave its note behind.
    (Attached::Kprobe, |object, _| {
        kprobe(object, "common_lsm_audit_kretprobe", EVENT_HOOK)?;
        kprobe(object, "common_lsm_audit_kprobe", EVENT_HOOK)
    }),
];

/// The ways of hooking each of [`TARGET_HOOKS`].
const TARGET_WAYS: [[Way; 2]; 3] = [
    [
        (Attached::Fentry, |o, btf| both(o, btf, "task_kill_fentry", "task_kill_fexit", TARGET_HOOKS[0])),
        (Attached::Kprobe, |o, _| {
            both_kprobes(o, "task_kill_kprobe", "task_kill_kretprobe", TARGET_HOOKS[0])
        }),
    ],
    [
        (Attached::Fentry, |o, btf| {
            both(o, btf, "ptrace_access_fentry", "ptrace_access_fexit", TARGET_HOOKS[1])
        }),
        (Attached::Kprobe, |o, _| {
            both_kprobes(o, "ptrace_access_kprobe", "ptrace_access_kretprobe", TARGET_HOOKS[1])
        }),
    ],
    [
        (Attached::Fentry, |o, btf| {
            both(o, btf, "ptrace_traceme_fentry", "ptrace_traceme_fexit", TARGET_HOOKS[2])
        }),
        (Attached::Kprobe, |o, _| {
            both_kprobes(o, "ptrace_traceme_kprobe", "ptrace_traceme_kretprobe", TARGET_HOOKS[2])
        }),
    ],
];

/// Entry and return by trampolines; the return first, because an entry without it leaves its note behind.
fn both(
    object: &mut Object,
    btf: &AyaBtf,
    entry: &str,
    end: &str,
    function: &str,
) -> Result<(), ProgramError> {
    let program_end: &mut FExit = program(object, end)?;
    program_end.load(function, btf)?;
    program_end.attach()?;
    let program_entry: &mut FEntry = program(object, entry)?;
    program_entry.load(function, btf)?;
    program_entry.attach().map(drop)
}

/// The same by kprobes.
fn both_kprobes(object: &mut Object, entry: &str, end: &str, function: &str) -> Result<(), ProgramError> {
    kprobe(object, end, function)?;
    kprobe(object, entry, function)
}

fn raw_tracepoint(object: &mut Object, tracepoint: &'static str) -> Hook {
    let mut attach = || -> Result<(), ProgramError> {
        let program: &mut RawTracePoint = program(object, tracepoint)?;
        program.load()?;
        program.attach(tracepoint).map(drop)
    };
    match attach() {
        Ok(()) => Hook { function: tracepoint, attached: Attached::RawTracepoint, reason: String::new() },
        Err(error) => {
            let reason = reason(Attached::RawTracepoint.as_str(), &error);
            Hook { function: tracepoint, attached: Attached::No, reason }
        }
    }
}

/// Tries the ways in their order until one works.
fn hook(object: &mut Object, btf: &AyaBtf, function: &'static str, ways: &[Way], attach: Attach) -> Hook {
    let mut reasons = Vec::new();
    for (attached, way) in ways {
        if attach == Attach::Kprobe && *attached != Attached::Kprobe {
            continue;
        }
        match way(object, btf) {
            Ok(()) => return Hook { function, attached: *attached, reason: reasons.join("; ") },
            Err(error) => reasons.push(reason(attached.as_str(), &error)),
        }
    }
    Hook { function, attached: Attached::No, reason: reasons.join("; ") }
}

fn kprobe(object: &mut Object, name: &str, function: &str) -> Result<(), ProgramError> {
    let program: &mut KProbe = program(object, name)?;
    program.load()?;
    program.attach(function, 0).map(drop)
}

fn program<'a, P>(object: &'a mut Object, name: &str) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    object.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// The whole chain of causes on one line. A verifier's log, which may be in it, says what was wrong at its
/// end: the middle of a long line is left out.
fn reason(way: &str, error: &(dyn std::error::Error + 'static)) -> String {
    const START: usize = 120;
    const END: usize = 240;
    let mut text = format!("{way}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    let line: Vec<char> = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect();
    let (Some(start), Some(end)) = (line.get(..START), line.get(line.len().saturating_sub(END)..)) else {
        return line.iter().collect();
    };
    if line.len() <= START + END {
        return line.iter().collect();
    }
    tracing::debug!("{text}");
    start.iter().chain(&[' ', '.', '.', '.', ' ']).chain(end).collect()
}

fn explain(error: anyhow::Error) -> LoadError {
    privilege_problem().unwrap_or(LoadError::Load(error))
}

fn refused(reason: String) -> LoadError {
    privilege_problem().unwrap_or(LoadError::NoHook(reason))
}

/// What most likely keeps programs from loading, if anything does.
fn privilege_problem() -> Option<LoadError> {
    let missing = privileges::missing(&[Capability::CAP_BPF, Capability::CAP_PERFMON]);
    if !missing.is_empty() {
        return Some(LoadError::NotPermitted(format!(
            "{} missing; without the eBPF source, violations that audit drops or never writes stay unseen",
            missing.join(" and ")
        )));
    }
    let lockdown = fs::read_to_string(LOCKDOWN).unwrap_or_default();
    lockdown.contains("[confidentiality]").then_some(LoadError::Lockdown)
}

fn ring_size(asked: u32) -> u32 {
    const PAGE: u32 = 4096;
    const LARGEST: u32 = 1 << 31;
    asked.clamp(PAGE, LARGEST).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::ring_size;

    #[test]
    fn ring_sizes_are_powers_of_two() {
        for (asked, want) in [(0, 4096), (4096, 4096), (4097, 8192), (8 << 20, 8 << 20), (u32::MAX, 1 << 31)]
        {
            assert_eq!(ring_size(asked), want, "{asked}");
        }
    }
}
