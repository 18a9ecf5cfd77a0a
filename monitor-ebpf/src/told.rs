//! Whose violation has been told, and by whom: what the tellers of one violation leave each other.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};

use crate::place::{Owner, PLACES};
use crate::read::{current, layout};

/// Notes, in the places of the threads.
#[map]
static TOLD_PLACES: Array<u64> = Array::with_max_entries(PLACES, 0);

/// Notes of threads whose place was another's.
#[map]
static TOLD: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// Who told a thread's violation, and who has run after that.
///
/// The last teller takes the note away. Where that one is skipped, the note must not pass for one of the thread's next
/// violation. It cannot where a teller finds that it has run itself, or one behind it: they run in order. Nor where the
/// thread has slept, which it does not do in between.
#[derive(Clone, Copy)]
pub(crate) struct Note(u64);

impl Note {
    const TELLER: u32 = 8;
    const THREAD: u32 = 16;
    /// How often the thread had given up the CPU of its own accord.
    const TIME: u32 = Self::THREAD + 11;
    /// Thread ids are below 1 << 22 (`PID_MAX_LIMIT`, include/linux/threads.h): what of one the place does not say, and a
    /// bit that is set, so that no note is 0.
    const PLACE_BITS: u32 = PLACES.trailing_zeros();
    const SOME: u64 = 1 << 10;
    const THREAD_MASK: u64 = (1 << 11) - 1;

    #[inline(always)]
    fn new(thread: u64, teller: u32) -> Self {
        let time: u64 = current().get(layout!(task_nvcsw)).unwrap_or(0);
        let tellers = u64::from(teller << Self::TELLER | teller);
        Self(time << Self::TIME | Self::owner(thread) << Self::THREAD | tellers)
    }

    #[inline(always)]
    fn owner(thread: u64) -> u64 {
        Self::SOME | u64::from(thread as u32 >> Self::PLACE_BITS) & (Self::SOME - 1)
    }

    #[inline(always)]
    fn is_of(note: u64, thread: u64) -> bool {
        note >> Self::THREAD & Self::THREAD_MASK == Self::owner(thread)
    }

    #[inline(always)]
    fn place(thread: u64) -> Option<Owner> {
        TOLD_PLACES.get_ptr_mut(thread as u32 & (PLACES - 1)).map(Owner::at)
    }

    /// The thread's note, wherever it is.
    #[inline(always)]
    fn of(thread: u64) -> Option<Owner> {
        match Self::place(thread) {
            Some(place) if Self::is_of(place.get(), thread) => Some(place),
            _ => TOLD.get_ptr_mut(&thread).map(Owner::at),
        }
    }

    /// Notes who tells the thread's violation; false without room.
    #[inline(always)]
    pub(crate) fn leave(thread: u64, teller: u32) -> bool {
        let Self(note) = Self::new(thread, teller);
        if let Some(place) = Self::place(thread) {
            if Self::is_of(place.get(), thread) {
                place.set(note);
                return true;
            }
            if place.claim(note) {
                return true;
            }
        }
        // An LRU map makes room.
        TOLD.insert(&thread, &note, 0).is_ok()
    }

    /// Whether the thread's violation is told; each teller asks once.
    #[inline(always)]
    pub(crate) fn told(thread: u64, asks: u32) -> bool {
        let Some(entry) = Self::of(thread) else { return false };
        let note = entry.get();
        let Self(own) = Self::new(thread, asks);
        if (note ^ own) >> Self::TIME != 0 || note as u8 >= own as u8 {
            return false;
        }
        entry.set(note + (own & 0xff) - (note & 0xff));
        true
    }

    /// Who tells the thread's violation.
    #[inline(always)]
    pub(crate) fn teller(thread: u64) -> Option<u32> {
        Self::of(thread).map(|note| (note.get() >> Self::TELLER) as u32 & 0xff)
    }

    /// Takes the thread's note away; false if there was none.
    #[inline(always)]
    pub(crate) fn take(thread: u64) -> bool {
        match Self::place(thread) {
            Some(place) if Self::is_of(place.get(), thread) => {
                place.set(0);
                true
            }
            _ => TOLD.remove(&thread).is_ok(),
        }
    }
}
