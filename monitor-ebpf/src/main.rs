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
//! What is attached are anchors: all they do is go on to the program in a slot. An agent that pins leaves them
//! attached when it ends, and the next one puts its programs in the slots. Setting a slot is one exchange in
//! the kernel: each violation is told by the old program or by the new one, never by both and never by none.
//!
//! A kernel that can be preempted in a program skips that program on that CPU until the first run has ended
//! (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c): a single storming task that lost the CPU at the wrong
//! moment would silence everybody. So there are spares behind the anchor, each of which tells what those
//! before it were skipped for. Of the programs at one function the kernel runs the latest attached first.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "kernel memory is read by address, and maps are shared with the kernel")]

mod cgroups;
mod emit;
mod read;
mod share;
mod silent;
mod wake;
mod who;

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, map};
use aya_ebpf::maps::{LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use aya_log_ebpf::debug;

use aa_monitor_ebpf::{Layout, STAMP_SKIP, Slot, counter};
use emit::Scratch;
use read::Known;

/// Offsets on the running kernel; written by the agent before the programs are loaded.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNKNOWN;

/// Records for the agent. The agent sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// How many programs tell violations: the anchor's, and one for each spare.
const TELLERS: u32 = 3;

/// Where a record is put together. One a CPU and teller is enough: the kernel does not run a program on a CPU
/// where it is already running, and counts the run that it skipped (`recursion_misses`).
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(TELLERS, 0);

/// Kernel-side counters, see [`counter`].
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::SLOTS, 0);

/// Stamps of records that `audit_pre` could not send itself: address of the `common_audit_data` -> text of
/// the stamp. There are never more than tasks inside `common_lsm_audit`; what a skipped run leaves behind
/// gives way.
#[map]
static STAMPS: LruHashMap<u64, Stamp> = LruHashMap::with_max_entries(4096, 0);

/// For kernels without trampolines: thread -> the `common_audit_data` it is reporting, from entry to return.
#[map]
static REPORTING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// Threads whose violation has been told, from the program that told it to the last spare.
#[map]
static TOLD: LruHashMap<u64, u8> = LruHashMap::with_max_entries(4096, 0);

/// The program that [`audit_pre_anchor`] goes on to.
#[map]
static STAMP_SLOT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The programs that [`common_lsm_audit_anchor`] and the spares go on to, each to its own. Not all to one: a
/// program may run once on a CPU and no more (its stack can be the CPU's, `priv_stack_ptr` in
/// kernel/bpf/core.c), and only what is attached is guarded against a second run.
#[map]
static EVENT_SLOT: ProgramArray = ProgramArray::with_max_entries(TELLERS, 0);

/// The text of an audit stamp.
pub type Stamp = [u64; Slot::Stamp.max() / 8];

/// Adds one to a kernel-side counter.
#[inline(always)]
fn count(slot: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: the map's value on this CPU; nothing else writes it while this program runs here.
        unsafe { *value += 1 };
    }
}

/// Keeps the stamp of the record of `a`, which audit is writing down at `data`.
#[inline(always)]
fn note_stamp(data: u64, a: u64) -> bool {
    if data == 0 {
        return false;
    }
    let mut stamp = MaybeUninit::<Stamp>::uninit();
    // SAFETY: the helper fills all of it, or fails.
    unsafe {
        if bpf_probe_read_kernel(
            stamp.as_mut_ptr().cast(),
            size_of::<Stamp>() as u32,
            (data + STAMP_SKIP) as *const _,
        ) != 0
        {
            return false;
        }
    }
    // SAFETY: filled, as just seen.
    let noted = STAMPS.insert(&a, unsafe { stamp.assume_init_ref() }, 0).is_ok();
    if !noted {
        count(counter::STAMPS_FULL);
    }
    noted
}

#[fentry(function = "audit_pre")]
fn audit_pre_fentry(ctx: FEntryContext) -> u32 {
    // Loads instead of calls, because the verifier knows what the first argument points to.
    let ab: Known = Known::new(ctx.arg(0));
    let data = ab.follow(read::layout!(ab_skb)).and_then(|skb| skb.get(read::layout!(skb_data)));
    note_stamp(data.unwrap_or(0), ctx.arg(1));
    0
}

#[kprobe]
fn audit_pre_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ab), Some(a)) = (ctx.arg(0), ctx.arg(1)) {
        let skb: u64 = read::at(ab, read::layout!(ab_skb)).unwrap_or(0);
        note_stamp(read::at(skb, read::layout!(skb_data)).unwrap_or(0), a);
    }
    0
}

/// What the anchor goes on to.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_fexit(ctx: FExitContext) -> u32 {
    note_told();
    let outcome = emit::violation(ctx.arg(0), 0);
    debug!(&ctx, "common_lsm_audit: {} bytes", outcome);
    0
}

/// What the first spare goes on to.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_fexit1(ctx: FExitContext) -> u32 {
    note_told();
    emit::violation(ctx.arg(0), 1);
    0
}

/// What the second spare goes on to. Nobody runs after it who would have to know.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_fexit2(ctx: FExitContext) -> u32 {
    emit::violation(ctx.arg(0), 2);
    0
}

/// Tells the spares that this thread's violation is being told.
#[inline(always)]
fn note_told() {
    // Without room for the note a spare would tell it again; an LRU map makes room.
    let _full = TOLD.insert(&bpf_get_current_pid_tgid(), &1, 0);
}

/// Goes on to the program in the slot. Nothing follows the tail call unless the slot is empty.
#[fentry(function = "audit_pre")]
fn audit_pre_anchor(ctx: FEntryContext) -> u32 {
    // SAFETY: the program in the slot is of this one's type and attach point, as the kernel made sure.
    unsafe { STAMP_SLOT.tail_call(&ctx, 0) };
    0
}

/// Goes on to the program in the slot.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_anchor(ctx: FExitContext) -> u32 {
    go_on(&ctx, 0)
}

/// Runs after the anchor, and has its work done when the kernel skipped it.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_spare1(ctx: FExitContext) -> u32 {
    if TOLD.get_ptr(&bpf_get_current_pid_tgid()).is_some() { 0 } else { rescue(&ctx, 1) }
}

/// Runs last, and takes the note away.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_spare2(ctx: FExitContext) -> u32 {
    if TOLD.remove(&bpf_get_current_pid_tgid()).is_ok() { 0 } else { rescue(&ctx, 2) }
}

#[inline(always)]
fn rescue(ctx: &FExitContext, slot: u32) -> u32 {
    count(counter::RESCUED);
    go_on(ctx, slot)
}

#[inline(always)]
fn go_on(ctx: &FExitContext, slot: u32) -> u32 {
    // SAFETY: the program in the slot is of this one's type and attach point, as the kernel made sure.
    unsafe { EVENT_SLOT.tail_call(ctx, slot) };
    count(counter::SEEN);
    count(counter::UNHEARD);
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
