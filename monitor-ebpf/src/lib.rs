//! The wire between the kernel programs and the agent: what a record in the ring looks like, and which
//! offsets the agent hands to the programs.
//!
//! A record is a [`Header`] followed by the strings of its slots, packed without padding or NUL, in the
//! order of [`Slot`]. [`Header::lens`] tells how long each one is, so a record is as long as what it says.

#![cfg_attr(not(test), no_std)]

mod layout;
mod record;

pub use layout::{ABSENT, AD_MAX, Layout};
pub use record::{
    Header, KIND_VIOLATION, LEN_ABSENT, LENS_WORDS, NET_BYTES, Net, RECORD_MAX, STAMP_SKIP, STRINGS_MAX,
    Slot, TRUNCATED, WIRE_VERSION,
};

/// Slots of the per-CPU counter array `COUNTERS`.
pub mod counter {
    /// Violations for which the ring had no room.
    pub const RING_FULL: u32 = 0;
    /// Audit stamps that found no room in the stamp map: the event is sent without one.
    pub const STAMPS_FULL: u32 = 1;
    /// How many slots there are.
    pub const SLOTS: u32 = 2;
}
