//! The eBPF programs: what AppArmor reports, read where it reports it.
//!
//! Every AppArmor record goes through `common_lsm_audit(a, pre_audit, post_audit)` (security/lsm_audit.c),
//! whether audit is on, off, rate-limited or full. Inside it, once audit has made a buffer, AppArmor's own
//! `audit_pre(ab, a)` (security/apparmor/audit.c) runs. So:
//!
//! * `audit_pre` notes the buffer's stamp, `audit(seconds.millis:serial)`, under the address of `a`, which
//!   lives on the task's kernel stack and is unique while it does;
//! * the return of `common_lsm_audit` sends the record, with the stamp when there was one.
//!
//! Operations that AppArmor allows never come here: they cost nothing, with one exception. A record of a signal
//! or ptrace names labels, never the target's process, so the three hooks of AppArmor that get it note it
//! (`who.rs`): two short runs for each signal that a process sends and each ptrace check.
//!
//! The tracepoints of cgroups that are made and removed (`cgroups.rs`) tell, in the same ring and therefore in
//! the right order, which container a cgroup id belongs to.
//!
//! What is attached are anchors and spares: all they do is go on to the program in a slot (`tellers.rs`). An agent that
//! pins leaves them attached when it ends, and the next one puts its programs in the slots. Setting a slot is one
//! exchange in the kernel: each violation is told by the old program or by the new one, never by both and never by
//! none.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "kernel memory is read by address, and maps are shared with the kernel")]

mod cgroups;
mod emit;
mod place;
mod read;
mod share;
mod silent;
mod stamps;
mod tellers;
mod told;
mod wake;
mod who;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::{LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use aya_log_ebpf::debug;

use aa_monitor_ebpf::{Layout, counter};

/// Offsets on the running kernel; written by the agent before the programs are loaded.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNKNOWN;

/// Records for the agent. The agent sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Kernel-side counters, see [`counter`].
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::SLOTS, 0);

/// For kernels without trampolines: thread -> the `common_audit_data` it is reporting, from entry to return.
#[map]
static REPORTING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// Adds one to a kernel-side counter.
#[inline(always)]
fn count(slot: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: the map's value on this CPU; nothing else writes it while this program runs here.
        unsafe { *value += 1 };
    }
}

#[kprobe]
fn audit_pre_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ab), Some(a)) = (ctx.arg(0), ctx.arg(1)) {
        let skb: u64 = read::at(ab, read::layout!(ab_skb)).unwrap_or(0);
        stamps::note(read::at(skb, read::layout!(skb_data)).unwrap_or(0), a);
    }
    0
}

#[kprobe]
fn common_lsm_audit_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(a) = ctx.arg::<u64>(0)
        && REPORTING.insert(&bpf_get_current_pid_tgid(), &a, 0).is_err()
    {
        count(counter::SEEN);
        count(counter::UNREADABLE);
    }
    0
}

#[kretprobe]
fn common_lsm_audit_kretprobe(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(a) = REPORTING.get_ptr(&thread) else { return 0 };
    // SAFETY: an entry of the map; only this thread inserts and removes it.
    let a = unsafe { *a };
    let _gone = REPORTING.remove(&thread);
    // A kprobe's program is not preempted.
    let outcome = emit::violation(a, 0);
    debug!(&ctx, "common_lsm_audit: {} bytes, tgid {}", outcome, ctx.tgid());
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL-compatible programs call the helpers that read its memory.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
