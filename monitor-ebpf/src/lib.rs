//! The wire between the kernel programs and the agent: what a record in the ring looks like, and which
//! offsets the agent hands to the programs.
//!
//! A record is a [`Header`] followed by the strings of its slots, packed without padding or NUL, in the
//! order of [`Slot`]. [`Header::lens`] tells how long each one is, so a record is as long as what it says.
//! Between them, in the order of events, come records of cgroups that were made or removed
//! ([`CgroupHeader`]).

#![cfg_attr(not(test), no_std)]

mod layout;
mod record;
mod tally;

pub use layout::{ABSENT, AD_MAX, Layout};
pub use record::{
    CGROUP_PATH_MAX, CgroupHeader, Header, KIND_CGROUP_MADE, KIND_CGROUP_REMOVED, KIND_VIOLATION, LEN_ABSENT,
    LENS_WORDS, NET_BYTES, Net, RECORD_MAX, STAMP_SKIP, STRINGS_MAX, Slot, TRUNCATED, WIRE_VERSION,
};

pub use tally::{CLASS_UNKNOWN, Tally, TallyKey, audit_mode, reason, setting};

/// Slots of the per-CPU counter array `COUNTERS`, which outlives the agent: a slot keeps its meaning for ever.
pub mod counter {
    /// Violations that the programs saw: each is in the ring or in one of the counters below.
    pub const SEEN: u32 = 0;
    /// Violations for which the ring had no room.
    pub const RING_FULL: u32 = 1;
    /// Audit stamps that found no room in the stamp map: the event is sent without one.
    pub const STAMPS_FULL: u32 = 2;
    /// Violations of a cgroup that had its share of a ring that was filling up.
    pub const OVER_SHARE: u32 = 3;
    /// Violations whose record the kernel would not let the program read.
    pub const UNREADABLE: u32 = 4;
    /// Violations that no program was there for: the anchor's slot was empty.
    pub const UNHEARD: u32 = 5;
    /// Violations for which the anchor was skipped, told by a spare.
    pub const RESCUED: u32 = 6;
    /// Cgroups made or removed for which the ring had no room.
    pub const CGROUPS_LOST: u32 = 7;
    /// Targets of signals and ptrace checks that found no room in the map of targets.
    pub const TARGETS_FULL: u32 = 8;
    /// Silent denials that found no room in the map of tallies.
    pub const TALLIES_FULL: u32 = 9;
    /// Audit stamps for which the anchor was skipped, noted by a spare.
    pub const STAMPS_RESCUED: u32 = 10;
    /// How many slots there are, with some to spare.
    pub const SLOTS: u32 = 32;
}
