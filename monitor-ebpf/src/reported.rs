//! What `audit_pre` has sent, until `common_lsm_audit` returns.
//!
//! A map would cost a record three calls into the kernel. One word in a table is enough: there are never more
//! than tasks inside `common_lsm_audit`, and two that meet in one place are told apart by trying.

use core::arch::asm;

use crate::read::Word;

const PLACES: usize = 1024;

/// Addresses of `common_audit_data` that were sent; 0 is a free place.
#[unsafe(no_mangle)]
static REPORTED: [Word; PLACES] = [const { Word::ZERO }; PLACES];

/// Notes that the record of `a` is being sent; false when its place is taken by another task's.
#[inline(always)]
pub(crate) fn note(a: u64) -> bool {
    let found: u64;
    // SAFETY: the place is valid for reads and writes, and the instruction (from 5.12) touches nothing else.
    // The compiler has no atomics for this target.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {new})",
            inout("r0") 0_u64 => found,
            place = in(reg) place(a),
            new = in(reg) a,
        );
    }
    // A note of its own is left over from a return that the kernel did not run the program for.
    found == 0 || found == a
}

/// Takes the note of `a` away; false when there was none.
#[inline(always)]
pub(crate) fn take(a: u64) -> bool {
    let place = place(a);
    // SAFETY: valid for reads; only the task on whose stack `a` lies writes it while it holds `a`.
    if unsafe { place.read_volatile() } != a {
        return false;
    }
    // SAFETY: as above.
    unsafe { place.write_volatile(0) };
    true
}

/// Stacks lie some pages apart, and the structure at about the same distance from each one's end.
#[inline(always)]
fn place(a: u64) -> *mut u64 {
    let hash = (a >> 14) ^ (a >> 4);
    REPORTED[(hash as usize) & (PLACES - 1)].get()
}
