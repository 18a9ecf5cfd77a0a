//! Up to which violation the agent has counted: so that the next one can read from a log what happened in
//! between, where nothing outlives the agent in the kernel.
//!
//! Two stamps, rewritten in place by one `pwrite`: up to which violations are **begun**, noted once for a batch
//! before the first of it is told to the outputs, and up to which they are **done**, noted when all are told. So a
//! violation is one of three to the next agent: done, and not its business; not begun, and its to count; or in
//! doubt, because the agent was killed just then, which is said as a loss. None is counted twice, and none is
//! missed without a word.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::journal::{boot, fnv};
use crate::record::AuditId;

const FILE: &str = "counted";
const MODE: u32 = 0o600;
const MAGIC: u64 = u64::from_le_bytes(*b"aamon-c2");

/// As it stands in the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
struct Stored {
    magic: u64,
    /// Of the boot id: serials begin anew with each boot.
    boot: u64,
    begun_millis: u64,
    begun_serial: u64,
    done_millis: u64,
    done_serial: u64,
    /// Of all that is before.
    sum: u64,
}

/// What the agent before has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    begun: AuditId,
    done: AuditId,
    same_boot: bool,
}

/// Whose a violation is that can be older than this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The agent before has told of it.
    Theirs,
    /// The agent before was killed when it may have told of it, or not.
    InDoubt,
    /// Nobody has.
    Ours,
}

impl Since {
    /// Whose the violation with this stamp is.
    pub fn whose(&self, stamp: AuditId) -> Whose {
        let is_after = |last| is_after(stamp, last, self.same_boot);
        match (is_after(self.begun), is_after(self.done)) {
            (true, _) => Whose::Ours,
            (false, true) => Whose::InDoubt,
            (false, false) => Whose::Theirs,
        }
    }
}

/// How far the clock may have been set back between two serials, in milliseconds.
const CLOCK: u64 = 60_000;

/// Whether a violation came after another one. Within a boot the serial tells, which grows whatever the clock does;
/// a log can hold older boots too.
fn is_after(stamp: AuditId, last: AuditId, same_boot: bool) -> bool {
    // Number 0: an agent that had counted none yet.
    if !same_boot || last.serial == 0 {
        return stamp.millis > last.millis;
    }
    // The kernel's number has 32 bits, and goes round.
    let ahead = (stamp.serial as u32).wrapping_sub(last.serial as u32).cast_signed();
    ahead > 0 && stamp.millis.saturating_add(CLOCK) >= last.millis
}

/// A stamp that this one, and nothing between, is after.
const fn before(stamp: AuditId) -> AuditId {
    let serial = (stamp.serial as u32).wrapping_sub(1) as u64;
    AuditId { millis: stamp.millis.saturating_sub(1), serial }
}

/// The open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    file: File,
    boot: u64,
    begun: AuditId,
    done: AuditId,
}

impl Checkpoint {
    /// Opens it, and reads what the agent before left; nothing when there was none, or what it left is damaged.
    pub fn open(state_dir: &Path) -> io::Result<(Self, Option<Since>)> {
        Self::open_in_boot(state_dir, boot()?)
    }

    fn open_in_boot(state_dir: &Path, boot: u64) -> io::Result<(Self, Option<Since>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let file = file.open(state_dir.join(FILE))?;
        let since = read(&file, boot);
        let none = AuditId { millis: now_millis(), serial: 0 };
        let mut checkpoint = Self { file, boot, begun: none, done: none };
        match since {
            Some(Since { begun, done, same_boot: true }) => {
                (checkpoint.begun, checkpoint.done) = (begun, done);
            }
            // What it says of another boot stays until this agent has something to say.
            Some(_) => return Ok((checkpoint, since)),
            None => {}
        }
        // Also tells now, not at the first violation, whether it can be written.
        checkpoint.write()?;
        Ok((checkpoint, since))
    }

    /// Notes that the violations with these stamps are about to be told. One that comes out of order casts doubt
    /// on all that came after it, until [`Self::finish`].
    pub fn begin(&mut self, stamps: impl IntoIterator<Item = AuditId>) -> io::Result<()> {
        let (begun, done) = (self.begun, self.done);
        for stamp in stamps {
            // The first one counts whatever the clock said when the agent started.
            if self.begun.serial == 0 || is_after(stamp, self.begun, true) {
                self.begun = stamp;
            }
            if !is_after(stamp, self.done, true) {
                self.done = before(stamp);
            }
        }
        if (begun, done) == (self.begun, self.done) { Ok(()) } else { self.write() }
    }

    /// Notes that all which was begun is told, but for what still waits: the oldest of that has this stamp.
    pub fn finish(&mut self, waiting: Option<AuditId>) -> io::Result<()> {
        let done = match waiting {
            Some(stamp) if !is_after(stamp, self.begun, true) => before(stamp),
            _ => self.begun,
        };
        if done == self.done {
            return Ok(());
        }
        self.done = done;
        self.write()
    }

    /// What the next agent would read if this one were killed now.
    #[cfg(test)]
    pub(crate) fn left(state_dir: &Path) -> Option<Since> {
        read(&File::open(state_dir.join(FILE)).ok()?, boot().ok()?)
    }

    fn write(&self) -> io::Result<()> {
        let Self { file, boot, begun, done } = self;
        let mut stored = Stored {
            magic: MAGIC,
            boot: *boot,
            begun_millis: begun.millis,
            begun_serial: begun.serial,
            done_millis: done.millis,
            done_serial: done.serial,
            sum: 0,
        };
        stored.sum = sum(&stored);
        file.write_all_at(bytemuck::bytes_of(&stored), 0)
    }
}

fn read(file: &File, boot: u64) -> Option<Since> {
    let mut stored = Stored::default();
    file.read_exact_at(bytemuck::bytes_of_mut(&mut stored), 0).ok()?;
    let whole = stored.magic == MAGIC && stored.sum == sum(&stored);
    whole.then_some(Since {
        begun: AuditId { millis: stored.begun_millis, serial: stored.begun_serial },
        done: AuditId { millis: stored.done_millis, serial: stored.done_serial },
        same_boot: stored.boot == boot,
    })
}

fn now_millis() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn sum(stored: &Stored) -> u64 {
    fnv(bytemuck::bytes_of(&Stored { sum: 0, ..*stored }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const fn stamp(millis: u64, serial: u64) -> AuditId {
        AuditId { millis, serial }
    }

    #[test]
    fn what_was_told_is_left_to_the_next_agent() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoint, before) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        assert_eq!(before, None, "the first agent has nothing to make up for");
        let last = stamp(1_000_001, 9);
        checkpoint.begin([stamp(1_000_000, 7), last, stamp(1_000_001, 8)]).unwrap();
        checkpoint.finish(None).unwrap();
        let (_, since) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        let same = Since { begun: last, done: last, same_boot: true };
        assert_eq!(since, Some(same));
        let (_, since) = Checkpoint::open_in_boot(dir.path(), 2).unwrap();
        let other = Since { same_boot: false, ..same };
        assert_eq!(since, Some(other));
        let killed = Since { done: stamp(1_000_000, 6), ..same };
        let none = |millis| Since { begun: stamp(millis, 0), done: stamp(millis, 0), ..same };
        let round = stamp(5, 0xffff_ffff);
        for (name, since, id, want) in [
            ("the last one", same, stamp(1_000_001, 9), Whose::Theirs),
            ("the next one", same, stamp(1_000_001, 10), Whose::Ours),
            ("the clock was set back a little", same, stamp(999_000, 10), Whose::Ours),
            ("of an older boot", same, stamp(1_000, 4711), Whose::Theirs),
            ("before one that had counted none", none(5), stamp(4, 9), Whose::Theirs),
            ("the number went round", Since { begun: round, done: round, ..same }, stamp(5, 0), Whose::Ours),
            ("after another boot, later", other, stamp(1_000_002, 1), Whose::Ours),
            ("after another boot, earlier", other, stamp(1_000_000, 4711), Whose::Theirs),
            ("done before the kill", killed, stamp(1_000_000, 6), Whose::Theirs),
            ("under way at the kill", killed, stamp(1_000_000, 7), Whose::InDoubt),
            ("the last of those", killed, stamp(1_000_001, 9), Whose::InDoubt),
            ("after the kill", killed, stamp(1_000_001, 10), Whose::Ours),
        ] {
            assert_eq!(since.whose(id), want, "{name}");
        }
    }

    #[test]
    fn damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoint, _) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        checkpoint.begin([stamp(5, 6)]).unwrap();
        checkpoint.file.write_all_at(b"x", 25).unwrap();
        assert_eq!(Checkpoint::open_in_boot(dir.path(), 1).unwrap().1, None);
        assert!(Checkpoint::open(Path::new("/dev/null/state")).is_err());
    }

    proptest! {
        /// An agent tells of batches, some of whose stamps come late, and is killed at any moment: to the next
        /// agent nothing that was told is its own, and nothing that was under way is told.
        #[test]
        fn a_kill_has_nothing_counted_twice_and_nothing_missed(
            batches in prop::collection::vec(prop::collection::vec(0_u64..12, 1..6), 1..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut checkpoint, _) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
            let start = now_millis() + 1;
            let of = |serial: u64| stamp(start + serial / 3, serial);
            let (mut told, mut at) = (BTreeSet::new(), 10);
            for offsets in batches {
                let batch: BTreeSet<_> =
                    offsets.iter().map(|offset| at + offset).filter(|serial| !told.contains(serial)).collect();
                at += 4;
                let killed = |checkpoint: &Checkpoint, told: &BTreeSet<u64>| {
                    let since = read(&checkpoint.file, 1).unwrap();
                    for serial in told {
                        assert_ne!(since.whose(of(*serial)), Whose::Ours, "{serial} would be counted twice");
                    }
                    for serial in batch.difference(told) {
                        assert_ne!(since.whose(of(*serial)), Whose::Theirs, "{serial} would be missed");
                    }
                };
                checkpoint.begin(batch.iter().copied().map(of)).unwrap();
                killed(&checkpoint, &told);
                for serial in batch.iter().rev() {
                    told.insert(*serial);
                    killed(&checkpoint, &told);
                }
                checkpoint.finish(None).unwrap();
                let since = read(&checkpoint.file, 1).unwrap();
                prop_assert!(told.iter().all(|serial| since.whose(of(*serial)) == Whose::Theirs));
            }
        }
    }

    #[test]
    fn what_waits_is_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoint, _) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        let of = |serial: u64| stamp(now_millis() + 10, serial);
        checkpoint.begin([of(5), of(9)]).unwrap();
        for (name, waiting, want) in [
            ("one of them", Some(7), [Whose::Theirs, Whose::InDoubt, Whose::InDoubt]),
            ("one that came later", Some(12), [Whose::Theirs; 3]),
            ("none", None, [Whose::Theirs; 3]),
        ] {
            checkpoint.finish(waiting.map(of)).unwrap();
            let since = read(&checkpoint.file, 1).unwrap();
            assert_eq!([6, 7, 9].map(|serial| since.whose(of(serial))), want, "{name}");
        }
    }
}
