//! Cgroups that are made and removed: which container an id belongs to, told before the first process of it
//! can be denied anything.

use core::hint::black_box;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_ringbuf_output};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::RawTracePointContext;

use aa_monitor_ebpf::{
    CGROUP_PATH_MAX, CgroupHeader, KIND_CGROUP_MADE, KIND_CGROUP_REMOVED, WIRE_VERSION, counter,
};

use crate::read::{at, layout};
use crate::{EVENTS, count, who};

const MASK: u64 = CGROUP_PATH_MAX as u64 - 1;
const _: () = assert!(CGROUP_PATH_MAX.is_power_of_two(), "else the mask is none");

#[repr(C)]
struct Record {
    header: CgroupHeader,
    path: [u8; CGROUP_PATH_MAX],
}

/// Not the scratch area of violations: a program that the kernel preempts may be in the middle of one. The
/// kernel holds a spin lock around these tracepoints (`TRACE_CGROUP_PATH`), so they never meet each other.
#[map]
static CGROUP_SCRATCH: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, called once the directory is there and before anybody can
/// see it (`cgroup_mkdir`, kernel/cgroup/cgroup.c).
#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: RawTracePointContext) -> i32 {
    tell(KIND_CGROUP_MADE, ctx.arg(0), ctx.arg(1))
}

/// The same arguments, once the directory is gone (`cgroup_rmdir`).
#[raw_tracepoint(tracepoint = "cgroup_rmdir")]
fn cgroup_rmdir(ctx: RawTracePointContext) -> i32 {
    tell(KIND_CGROUP_REMOVED, ctx.arg(0), ctx.arg(1))
}

#[inline(always)]
fn tell(kind: u8, cgroup: u64, path: u64) -> i32 {
    let root: u64 = at(cgroup, layout!(cgroup_root)).unwrap_or(0);
    let hierarchy: i32 = at(root, layout!(cgroup_root_hierarchy_id)).unwrap_or(-1);
    if hierarchy != i32::from(layout!(hierarchy)) {
        return 0;
    }
    let Some(record) = CGROUP_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's scratch area, which is as long as it says.
    let read = unsafe {
        (&raw mut (*record).header).write(CgroupHeader {
            version: WIRE_VERSION,
            kind,
            pad: 0,
            pad2: 0,
            id: who::id(cgroup),
        });
        let to = (&raw mut (*record).path).cast();
        bpf_probe_read_kernel_str(to, CGROUP_PATH_MAX as u32, path as *const _)
    } as u64;
    // The NUL is not sent; a failed read is negative, which seen unsigned is larger than any length.
    let len = read.wrapping_sub(1);
    if len >= CGROUP_PATH_MAX as u64 {
        count(counter::CGROUPS_LOST);
        return 0;
    }
    // The compiler makes one sum of what was compared and what is sent, and 6.1's verifier then knows no bound:
    // a mask of which the compiler cannot know that it changes nothing.
    let len = black_box(len) & MASK;
    // SAFETY: the header is followed by the path, of which `len` bytes are filled; for the map see `emit.rs`.
    let failed = unsafe {
        let size = size_of::<CgroupHeader>() as u64 + len;
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record.cast(), size, 0)
    };
    if failed != 0 {
        count(counter::CGROUPS_LOST);
    }
    0
}
