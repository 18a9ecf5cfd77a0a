//! Which programs hook what, and how. What can attach decides, not the kernel's version: each hook has a preferred
//! way and a second one, and an attach that works is the only proof.

use aya::maps::ProgramArray;
use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError, ProgramFd, RawTracePoint};
use aya::{Btf as AyaBtf, Ebpf as Object};

use super::load::Attach;
use crate::ledger::{Attached, CGROUP_HOOKS, Hook};

/// AppArmor's callback into an audit record that is being written.
pub(super) const STAMP_HOOK: &str = "audit_pre";
/// Where every AppArmor record passes.
pub(super) const EVENT_HOOK: &str = "common_lsm_audit";
/// Who is signalled or traced.
pub(super) const TARGET_HOOKS: [&str; 3] =
    ["apparmor_task_kill", "apparmor_ptrace_access_check", "apparmor_ptrace_traceme"];

pub(super) const STAMP_ANCHOR: &str = "audit_pre_anchor";
pub(super) const EVENT_ANCHOR: &str = "common_lsm_audit_anchor";
/// The programs at [`STAMP_HOOK`], in the order in which they are attached (the latest runs first): each one's name
/// and that of its pin.
pub(super) const STAMP_ANCHORS: [(&str, &str); 4] = [
    ("audit_pre_spare3", "stamp-spare3-link"),
    ("audit_pre_spare2", "stamp-spare2-link"),
    ("audit_pre_spare1", "stamp-spare1-link"),
    (STAMP_ANCHOR, "stamp-link"),
];
/// The same at [`EVENT_HOOK`].
pub(super) const EVENT_ANCHORS: [(&str, &str); 9] = [
    ("common_lsm_audit_spare8", "event-spare8-link"),
    ("common_lsm_audit_spare7", "event-spare7-link"),
    ("common_lsm_audit_spare6", "event-spare6-link"),
    ("common_lsm_audit_spare5", "event-spare5-link"),
    ("common_lsm_audit_spare4", "event-spare4-link"),
    ("common_lsm_audit_spare3", "event-spare3-link"),
    ("common_lsm_audit_spare2", "event-spare2-link"),
    ("common_lsm_audit_spare1", "event-spare1-link"),
    (EVENT_ANCHOR, "event-link"),
];
/// The same by kprobes: at its entry and at its return.
const EVENT_KPROBES: [&str; 2] = ["common_lsm_audit_kprobe", "common_lsm_audit_kretprobe"];

/// A way of hooking a function, and what does it.
type Way = (Attached, fn(&mut Object, &AyaBtf) -> Result<(), ProgramError>);

pub(super) const STAMP_WAYS: [Way; 2] = [
    (Attached::Fentry, |object, btf| {
        set_stamp_slot(object, btf)?;
        for (name, _) in STAMP_ANCHORS {
            let anchor: &mut FEntry = program(object, name)?;
            anchor.load(STAMP_HOOK, btf)?;
            anchor.attach()?;
        }
        Ok(())
    }),
    (Attached::Kprobe, |object, _| kprobe(object, "audit_pre_kprobe", STAMP_HOOK)),
];

pub(super) const EVENT_WAYS: [Way; 2] = [
    (Attached::Fexit, |object, btf| {
        set_event_slot(object, btf)?;
        for (name, _) in EVENT_ANCHORS {
            let anchor: &mut FExit = program(object, name)?;
            anchor.load(EVENT_HOOK, btf)?;
            anchor.attach()?;
        }
        Ok(())
    }),
    // The return first: an entry without a return would leave its note behind.
    (Attached::Kprobe, |object, _| {
        let [entry, end] = EVENT_KPROBES;
        both_kprobes(object, entry, end, EVENT_HOOK)
    }),
];

/// Loads what the anchors at [`STAMP_HOOK`] go on to.
pub(super) fn set_stamp_slot(object: &mut Object, btf: &AyaBtf) -> Result<(), ProgramError> {
    let to: &mut FEntry = program(object, "audit_pre_fentry")?;
    to.load(STAMP_HOOK, btf)?;
    let to = to.fd()?.try_clone()?;
    set_slot(object, "STAMP_SLOT", &to)
}

/// Loads what the anchors at [`EVENT_HOOK`] go on to.
pub(super) fn set_event_slot(object: &mut Object, btf: &AyaBtf) -> Result<(), ProgramError> {
    let to: &mut FExit = program(object, "common_lsm_audit_fexit")?;
    to.load(EVENT_HOOK, btf)?;
    let to = to.fd()?.try_clone()?;
    set_slot(object, "EVENT_SLOT", &to)
}

fn set_slot(object: &mut Object, map: &str, to: &ProgramFd) -> Result<(), ProgramError> {
    let map = object.map_mut(map).ok_or(ProgramError::NotLoaded)?;
    ProgramArray::try_from(map)?.set(0, to, 0)?;
    Ok(())
}

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
pub(super) fn hook(
    object: &mut Object,
    btf: &AyaBtf,
    function: &'static str,
    ways: &[Way],
    attach: Attach,
) -> Hook {
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

pub(super) fn kprobe(object: &mut Object, name: &str, function: &str) -> Result<(), ProgramError> {
    let program: &mut KProbe = program(object, name)?;
    program.load()?;
    program.attach(function, 0).map(drop)
}

pub(super) fn program<'a, P>(object: &'a mut Object, name: &str) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    object.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}

/// The whole chain of causes on one line. A verifier's log, which may be in it, says what was wrong at its
/// end: the middle of a long line is left out.
pub(super) fn reason(way: &str, error: &(dyn std::error::Error + 'static)) -> String {
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

/// Attaches what tells whose a violation is, for as long as this agent runs. Before the events: one whose
/// target cannot be noted would have no victim.
pub(super) fn identity_hooks(object: &mut Object, btf: &AyaBtf, attach: Attach) -> Vec<Hook> {
    let mut hooks: Vec<Hook> =
        CGROUP_HOOKS.into_iter().map(|tracepoint| raw_tracepoint(object, tracepoint)).collect();
    for (function, ways) in TARGET_HOOKS.into_iter().zip(&TARGET_WAYS) {
        hooks.push(hook(object, btf, function, ways, attach));
    }
    hooks
}

/// Detaches what tells of violations, before what tells of their stamps: a violation without its stamp could not
/// be recognised in the audit stream, nor in a log by the next agent, and would be counted twice.
pub(super) fn detach_events(object: &mut Object) {
    let names = EVENT_ANCHORS.iter().map(|(name, _)| *name).chain(EVENT_KPROBES);
    for name in names {
        let ended = match object.program_mut(name) {
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            Some(_) | None => Ok(()),
        };
        match ended {
            // Of the two ways, the other was taken.
            Ok(()) | Err(ProgramError::NotLoaded) => {}
            Err(error) => tracing::debug!(%error, name, "cannot be unloaded; its end detaches it"),
        }
    }
}
