//! Notes of threads that are in the middle of something: each in its own place of an array, where no hash has to be
//! computed and no list to be kept in order. Both cost more than all else that is done with a note.
//!
//! The first word of a place says whose it is, 0 when it is nobody's. Two threads may come to the same place; the
//! second one keeps its note in a hash table, as one does whose place was never given back because the kernel
//! skipped who should have.

use core::arch::asm;

/// How many places an array of them has.
pub(crate) const PLACES: u32 = 4096;

/// A word that says whose a place is.
#[derive(Clone, Copy)]
pub(crate) struct Owner(*mut u64);

impl Owner {
    /// `word` must be an aligned word of a map's value.
    #[inline(always)]
    pub(crate) fn at(word: *mut u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    pub(crate) fn get(self) -> u64 {
        // SAFETY: a word of a map's value.
        unsafe { self.0.read_volatile() }
    }

    /// For the owner alone.
    #[inline(always)]
    pub(crate) fn set(self, owner: u64) {
        // SAFETY: as above.
        unsafe { self.0.write_volatile(owner) }
    }

    /// Takes a place that is nobody's; false if another thread was first. `core` has no atomic exchange for this target.
    #[inline(always)]
    pub(crate) fn claim(self, owner: u64) -> bool {
        let mut found: u64 = 0;
        // SAFETY: a word of a map's value; the instruction compares with the register `found` is in, and leaves there
        // what it found.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({place} + 0, r0, {owner})",
                place = in(reg) self.0,
                owner = in(reg) owner,
                inout("r0") found,
            );
        }
        found == 0
    }
}
