//! What is attached: anchors, and spares for when the kernel skips them.
//!
//! A kernel that preempts tasks skips a program on a CPU on which a run of it has lost the CPU, until that run has
//! ended (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c): one storming task that lost it at the wrong moment would
//! silence everybody. So there are spares behind each anchor, each of which does what those before it were skipped for.
//! A task keeps at most one of them out, and the kernel runs the latest attached first.
//!
//! All tellers go on to one program, so that a spare is next to nothing. That is safe only if its stack is the
//! task's. A stack of the CPU's (`priv_stack_ptr`, kernel/bpf/core.c, from 6.13) would be used by two runs at once, because
//! only what is attached is guarded against a second run; programs with a tail call get none
//! (`check_max_stack_depth`, kernel/bpf/verifier.c). So what is gone on to ends with one, to nowhere.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, fexit, map};
use aya_ebpf::maps::{PerCpuArray, ProgramArray};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use aya_log_ebpf::debug;

use aa_monitor_ebpf::counter;

use crate::emit::{self, Scratch};
use crate::read::{Known, layout};
use crate::told::Note;
use crate::{count, stamps};

/// How many programs tell violations: the anchor and its spares. Eight tasks that have lost a CPU inside of one keep
/// nobody out.
const TELLERS: u32 = 9;

/// Where a record is put together: one for each CPU and teller, because a run keeps another one of its own teller out
/// from that CPU, and of no other.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(TELLERS, 0);

/// The program that notes stamps.
#[map]
static STAMP_SLOT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program that tells violations.
#[map]
static EVENT_SLOT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Where nothing ever is: an array for each function, because all who use one must be on the same.
#[map]
static NO_STAMP: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static NO_EVENT: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[fentry(function = "audit_pre")]
fn audit_pre_anchor(ctx: FEntryContext) -> u32 {
    // SAFETY: the program in the slot is of this one's type and attach point, as the kernel made sure.
    unsafe { STAMP_SLOT.tail_call(&ctx, 0) };
    0
}

#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_anchor(ctx: FExitContext) -> u32 {
    tell(&ctx, bpf_get_current_pid_tgid(), 0)
}

/// Spares, in the order in which they run.
macro_rules! spares {
    (stamps: $($stamp:ident)*; events: $($number:literal $event:ident)*; last: $last:ident) => {
        $(
            #[fentry(function = "audit_pre")]
            fn $stamp(ctx: FEntryContext) -> u32 {
                rescue_stamp(&ctx)
            }
        )*
        $(
            #[fexit(function = "common_lsm_audit")]
            fn $event(ctx: FExitContext) -> u32 {
                let thread = bpf_get_current_pid_tgid();
                if Note::told(thread, $number) { 0 } else { rescue(&ctx, thread, $number) }
            }
        )*
        /// Runs last, and takes the note away.
        #[fexit(function = "common_lsm_audit")]
        fn $last(ctx: FExitContext) -> u32 {
            let thread = bpf_get_current_pid_tgid();
            let told = Note::told(thread, LAST);
            if Note::take(thread) && told {
                return 0;
            }
            rescue(&ctx, thread, LAST)
        }
    };
}

const LAST: u32 = TELLERS - 1;

spares! {
    stamps: audit_pre_spare1 audit_pre_spare2 audit_pre_spare3;
    events: 1 common_lsm_audit_spare1 2 common_lsm_audit_spare2 3 common_lsm_audit_spare3
        4 common_lsm_audit_spare4 5 common_lsm_audit_spare5 6 common_lsm_audit_spare6 7 common_lsm_audit_spare7;
    last: common_lsm_audit_spare8
}

/// Notes the stamp if none has been: what a violation before had under this address was taken when it was told.
#[inline(always)]
fn rescue_stamp(ctx: &FEntryContext) -> u32 {
    let a: u64 = ctx.arg(1);
    if !stamps::is_noted(a) {
        count(counter::STAMPS_RESCUED);
        // SAFETY: as above.
        unsafe { STAMP_SLOT.tail_call(ctx, 0) };
    }
    0
}

#[inline(always)]
fn rescue(ctx: &FExitContext, thread: u64, teller: u32) -> u32 {
    count(counter::RESCUED);
    tell(ctx, thread, teller)
}

/// Goes on to the program in the slot. Nothing follows the tail call unless the slot is empty.
#[inline(always)]
fn tell(ctx: &FExitContext, thread: u64, teller: u32) -> u32 {
    // Were there no room, the next teller would try.
    if Note::leave(thread, teller) {
        // SAFETY: the program in the slot is of this one's type and attach point, as the kernel made sure.
        unsafe { EVENT_SLOT.tail_call(ctx, 0) };
    } else if teller != LAST {
        return 0;
    }
    count(counter::SEEN);
    count(counter::UNHEARD);
    0
}

/// What the tellers of violations go on to.
#[fexit(function = "common_lsm_audit")]
fn common_lsm_audit_fexit(ctx: FExitContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // Without its note it does not know whose scratch area is free: there is none of that number.
    let teller = Note::teller(thread).unwrap_or(TELLERS);
    let outcome = emit::violation(ctx.arg(0), teller);
    debug!(&ctx, "common_lsm_audit: {} bytes", outcome);
    if teller == LAST {
        let _gone = Note::take(thread);
    }
    // SAFETY: there is no program to go on to; but that there could be keeps this one's stack the task's.
    unsafe { NO_EVENT.tail_call(&ctx, 0) };
    0
}

/// What the tellers of stamps go on to.
#[fentry(function = "audit_pre")]
fn audit_pre_fentry(ctx: FEntryContext) -> u32 {
    // Loads instead of calls, because the verifier knows what the first argument points to.
    let ab: Known = Known::new(ctx.arg(0));
    let data = ab.follow(layout!(ab_skb)).and_then(|skb| skb.get(layout!(skb_data)));
    stamps::note(data.unwrap_or(0), ctx.arg(1));
    // SAFETY: as above.
    unsafe { NO_STAMP.tail_call(&ctx, 0) };
    0
}
