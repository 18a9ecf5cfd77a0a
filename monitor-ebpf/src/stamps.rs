//! Stamps of records, from `audit_pre`, which sees them, to the program that tells the violation.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};

use aa_monitor_ebpf::{STAMP_SKIP, Slot, counter};

use crate::count;
use crate::place::{Owner, PLACES};

/// The text of an audit stamp.
type Stamp = [u64; Slot::Stamp.max() / 8];

/// A stamp under the address of the `common_audit_data` whose record has it, which lies on the task's kernel stack
/// and is unique while it does.
#[repr(C)]
struct Kept {
    owner: u64,
    stamp: Stamp,
}

/// Stamps that are on their way, in the places of the threads.
#[map]
static STAMP_PLACES: Array<Kept> = Array::with_max_entries(PLACES, 0);

/// Stamps whose place was another's. There are never more than tasks inside `common_lsm_audit`; what a skipped run
/// leaves behind gives way.
#[map]
static STAMPS: LruHashMap<u64, Stamp> = LruHashMap::with_max_entries(4096, 0);

/// The place of the current thread.
#[inline(always)]
fn place() -> Option<*mut Kept> {
    STAMP_PLACES.get_ptr_mut(bpf_get_current_pid_tgid() as u32 & (PLACES - 1))
}

#[inline(always)]
fn owner(kept: *mut Kept) -> Owner {
    // SAFETY: a value of the map.
    Owner::at(unsafe { &raw mut (*kept).owner })
}

/// The place of the record of `a`, if its stamp is there.
#[inline(always)]
fn own_place(a: u64) -> Option<*mut Kept> {
    place().filter(|kept| owner(*kept).get() == a)
}

/// Keeps the stamp of the record of `a`, which audit is writing down at `data`.
#[inline(always)]
pub(crate) fn note(data: u64, a: u64) {
    if data == 0 {
        return;
    }
    let text = data + STAMP_SKIP;
    if let Some(kept) = place() {
        let owner = owner(kept);
        if owner.get() == a || owner.claim(a) {
            // SAFETY: a value of the map that is this thread's now.
            if !read(text, unsafe { (&raw mut (*kept).stamp).cast() }) {
                owner.set(0);
            }
            return;
        }
    }
    let mut stamp = MaybeUninit::<Stamp>::uninit();
    if !read(text, stamp.as_mut_ptr()) {
        return;
    }
    // SAFETY: filled, as just seen.
    if STAMPS.insert(&a, unsafe { stamp.assume_init_ref() }, 0).is_err() {
        count(counter::STAMPS_FULL);
    }
}

#[inline(always)]
fn read(text: u64, to: *mut Stamp) -> bool {
    // SAFETY: the helper fills all of it, or fails.
    unsafe { bpf_probe_read_kernel(to.cast(), size_of::<Stamp>() as u32, text as *const _) == 0 }
}

/// Whether there is a stamp of the record of `a`.
#[inline(always)]
pub(crate) fn is_noted(a: u64) -> bool {
    own_place(a).is_some() || STAMPS.get_ptr(&a).is_some()
}

/// Hands over the stamp of the record of `a`, or 0 when it has none, and forgets it.
#[inline(always)]
pub(crate) fn take(a: u64, mut hand_over: impl FnMut(u64)) {
    if let Some(kept) = own_place(a) {
        // SAFETY: a value of the map, of this thread.
        hand_over(unsafe { &raw const (*kept).stamp } as u64);
        owner(kept).set(0);
        return;
    }
    let noted = STAMPS.get_ptr(&a).map_or(0, |stamp| stamp as u64);
    hand_over(noted);
    if noted != 0 {
        let _gone = STAMPS.remove(&a);
    }
}
