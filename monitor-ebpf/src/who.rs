//! Whose process: the cgroup and the start of a task, and the target of a signal or ptrace.
//!
//! What AppArmor reports of a signal or ptrace names two labels and the current process. Which process is the
//! other one, only its hooks know: `apparmor_task_kill(target, ..)`, `apparmor_ptrace_access_check(child, ..)`
//! and `apparmor_ptrace_traceme(parent)`. Their entry notes it under the thread, their return forgets it, so
//! that a record which comes another way (a ptraced program that changes its profile) finds nothing.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task};
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};

use aa_monitor_ebpf::{ABSENT, counter};

use crate::count;
use crate::read::{at, layout};

/// Thread -> the task that it signals or traces, while AppArmor looks at it. There are never more than tasks
/// inside of the three hooks.
#[map]
static TARGETS: HashMap<u64, u64> = HashMap::with_max_entries(4096, 0);

/// The task that this thread signals or traces, 0 if none. It lives for as long as the hook runs.
#[inline(always)]
pub(crate) fn target(thread: u64) -> u64 {
    // SAFETY: only this thread writes the entry.
    TARGETS.get_ptr(&thread).map_or(0, |task| unsafe { *task })
}

/// The current task's cgroup.
#[inline(always)]
pub(crate) fn current_cgroup() -> u64 {
    if layout!(pids_css) == ABSENT {
        // SAFETY: no arguments.
        unsafe { bpf_get_current_cgroup_id() }
    } else {
        // SAFETY: no arguments.
        cgroup(unsafe { bpf_get_current_task() })
    }
}

/// A task's cgroup; 0 without a task.
#[inline(always)]
pub(crate) fn cgroup(task: u64) -> u64 {
    let css_set: u64 = at(task, layout!(task_cgroups)).unwrap_or(0);
    let cgroup: u64 = if layout!(pids_css) == ABSENT {
        at(css_set, layout!(css_set_dfl_cgrp)).unwrap_or(0)
    } else {
        let css: u64 = at(css_set, layout!(pids_css)).unwrap_or(0);
        at(css, layout!(css_cgroup)).unwrap_or(0)
    };
    id(cgroup)
}

/// A cgroup's id: the inode number of its directory.
#[inline(always)]
pub(crate) fn id(cgroup: u64) -> u64 {
    let kn: u64 = at(cgroup, layout!(cgroup_kn)).unwrap_or(0);
    at(kn, layout!(kernfs_node_id)).unwrap_or(0)
}

/// When a task's process started: its leader's start, because threads start later.
#[inline(always)]
pub(crate) fn start_boottime(task: u64) -> u64 {
    let leader: u64 = at(task, layout!(task_group_leader)).unwrap_or(task);
    at(leader, layout!(task_start_boottime)).unwrap_or(0)
}

#[inline(always)]
fn note(task: u64) -> u32 {
    if TARGETS.insert(&bpf_get_current_pid_tgid(), &task, 0).is_err() {
        count(counter::TARGETS_FULL);
    }
    0
}

#[inline(always)]
fn forget() -> u32 {
    let _gone = TARGETS.remove(&bpf_get_current_pid_tgid());
    0
}

/// Entry and return of a hook whose first argument is the target, by trampoline and by kprobe.
macro_rules! watch {
    ($($function:literal: $fentry:ident $fexit:ident $kprobe:ident $kretprobe:ident,)*) => {
        $(
            #[fentry(function = $function)]
            fn $fentry(ctx: FEntryContext) -> u32 {
                note(ctx.arg(0))
            }

            #[fexit(function = $function)]
            fn $fexit(_: FExitContext) -> u32 {
                forget()
            }

            #[kprobe]
            fn $kprobe(ctx: ProbeContext) -> u32 {
                ctx.arg(0).map_or(0, note)
            }

            #[kretprobe]
            fn $kretprobe(_: RetProbeContext) -> u32 {
                forget()
            }
        )*
    };
}

watch! {
    "apparmor_task_kill": task_kill_fentry task_kill_fexit task_kill_kprobe task_kill_kretprobe,
    "apparmor_ptrace_access_check":
        ptrace_access_fentry ptrace_access_fexit ptrace_access_kprobe ptrace_access_kretprobe,
    "apparmor_ptrace_traceme":
        ptrace_traceme_fentry ptrace_traceme_fexit ptrace_traceme_kprobe ptrace_traceme_kretprobe,
}
