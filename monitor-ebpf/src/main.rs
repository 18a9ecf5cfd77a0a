//! The eBPF programs: what AppArmor reports, read where it reports it.
//!
//! Every AppArmor record goes through `common_lsm_audit(a, pre_audit, post_audit)` (security/lsm_audit.c),
//! whether audit is on, off, rate-limited or full. Inside it, once audit has made a buffer, AppArmor's own
//! `audit_pre(ab, a)` (security/apparmor/audit.c) runs. So:
//!
//! * `audit_pre` sends the record, with the buffer's stamp, `audit(seconds.millis:serial)`, and notes the
//!   address of `a`, which lives on the task's kernel stack and is unique while it does;
//! * the return of `common_lsm_audit` sends what `audit_pre` did not: audit made no buffer for it.
//!
//! Operations that AppArmor allows never come here: they cost nothing.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "kernel memory is read by address, and maps are shared with the kernel")]

mod emit;
mod read;
mod reported;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_func_arg;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, map};
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
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

/// Where a record is put together: an area a CPU for each place that does so. The kernel does not run a
/// program on a CPU where it is already running, and counts the run that it skipped (`recursion_misses`).
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(emit::PLACES, 0);

/// Kernel-side counters, see [`counter`].
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::SLOTS, 0);

/// Stamps of records that `audit_pre` could not send itself: address of the `common_audit_data` -> text of
/// the stamp. There are never more than tasks inside `common_lsm_audit`.
#[map]
static STAMPS: HashMap<u64, Stamp> = HashMap::with_max_entries(4096, 0);

/// For kernels without trampolines: thread -> the `common_audit_data` it is reporting, from entry to return.
#[map]
static REPORTING: HashMap<u64, u64> = HashMap::with_max_entries(4096, 0);

/// The text of an audit stamp.
pub type Stamp = [u8; Slot::Stamp.max()];

/// Adds one to a kernel-side counter.
#[inline(always)]
fn count(slot: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: the map's value on this CPU; nothing else writes it while this program runs here.
        unsafe { *value += 1 };
    }
}

/// Sends the record of `a`; audit is writing it down at `data`.
#[inline(always)]
fn audited(data: u64, a: u64) -> u64 {
    if data == 0 {
        return 0;
    }
    if reported::note(a) {
        return emit::violation(a, emit::IN_AUDIT_PRE, Some(data + STAMP_SKIP));
    }
    let mut stamp: Stamp = [0; Slot::Stamp.max()];
    if read::bytes(data + STAMP_SKIP, &mut stamp) && STAMPS.insert(&a, &stamp, 0).is_err() {
        count(counter::STAMPS_FULL);
    }
    0
}

/// Sends the record of `a` unless it was sent.
#[inline(always)]
fn returned(a: u64) -> u64 {
    if reported::take(a) {
        return 0;
    }
    let stamp = STAMPS.get_ptr(&a).map(|stamp| stamp as u64);
    let sent = emit::violation(a, emit::AT_RETURN, stamp);
    if stamp.is_some() {
        let _gone = STAMPS.remove(&a);
    }
    sent
}

#[fentry(function = "audit_pre")]
fn audit_pre_fentry(ctx: FEntryContext) -> u32 {
    // Loads instead of calls, because the verifier knows what the first argument points to.
    let ab: Known = Known::new(ctx.arg(0));
    let data = ab.follow(read::layout!(ab_skb)).and_then(|skb| skb.get(read::layout!(skb_data)));
    let outcome = audited(data.unwrap_or(0), ctx.arg(1));
    debug!(&ctx, "audit_pre: {} bytes", outcome);
    0
}

#[kprobe]
fn audit_pre_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ab), Some(a)) = (ctx.arg(0), ctx.arg(1)) {
        let skb: u64 = read::at(ab, read::layout!(ab_skb)).unwrap_or(0);
        audited(read::at(skb, read::layout!(skb_data)).unwrap_or(0), a);
    }
    0
}

#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_fexit(ctx: FExitContext) -> u32 {
    // Not `ctx.arg`, whose result the verifier knows for a pointer and will not let be counted with.
    let mut a = 0_u64;
    // SAFETY: `a` is writable; from 5.17.
    if unsafe { bpf_get_func_arg(ctx.as_ptr(), 0, &raw mut a) } != 0 {
        return 0;
    }
    let outcome = returned(a);
    debug!(&ctx, "common_lsm_audit: {} bytes", outcome);
    0
}

#[kprobe]
fn common_lsm_audit_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(a) = ctx.arg::<u64>(0) {
        let _full = REPORTING.insert(&bpf_get_current_pid_tgid(), &a, 0);
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
    let outcome = returned(a);
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
