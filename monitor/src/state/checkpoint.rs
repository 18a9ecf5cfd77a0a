//! Up to which violation the agent has counted: so that the next one can read from a log what happened in
//! between, where nothing outlives the agent in the kernel.
//!
//! An entry of fixed size is rewritten in place by one `pwrite` **before** its violation is counted: after a kill
//! those that were under way are missed (lines not written yet, and in an agent's first seconds records of the
//! audit stream that waited for the eBPF source), and none is counted twice.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::journal::{boot, fnv};
use crate::record::AuditId;

const FILE: &str = "counted";
const MODE: u32 = 0o600;
const MAGIC: u64 = u64::from_le_bytes(*b"aamon-c1");

/// As it stands in the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
struct Stored {
    magic: u64,
    /// Of the boot id: serials begin anew with each boot.
    boot: u64,
    millis: u64,
    serial: u64,
    /// Of all that is before.
    sum: u64,
}

/// Which violations of a log an agent before has not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    stamp: AuditId,
    same_boot: bool,
}

impl Since {
    /// How far the clock may have been set back between two serials.
    const CLOCK: u64 = 60_000;

    /// Whether a violation with this stamp came after the last one that was counted. Within a boot the serial
    /// tells, which grows whatever the clock does; a log can hold older boots too.
    pub fn is_before(&self, stamp: AuditId) -> bool {
        let Self { stamp: last, same_boot } = *self;
        // Number 0: an agent that had counted none yet.
        if !same_boot || last.serial == 0 {
            return stamp.millis > last.millis;
        }
        // The kernel's number has 32 bits, and goes round.
        let ahead = (stamp.serial as u32).wrapping_sub(last.serial as u32).cast_signed();
        ahead > 0 && stamp.millis.saturating_add(Self::CLOCK) >= last.millis
    }
}

/// The open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    file: File,
    boot: u64,
    last: Option<AuditId>,
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
        let mut stored = Stored::default();
        let whole = file.read_exact_at(bytemuck::bytes_of_mut(&mut stored), 0).is_ok();
        let ours = whole && stored.magic == MAGIC && stored.sum == sum(&stored);
        let since = ours.then_some(Since {
            stamp: AuditId { millis: stored.millis, serial: stored.serial },
            same_boot: stored.boot == boot,
        });
        let mut checkpoint = Self { file, boot, last: None };
        // Also tells now, not at the first violation, whether it can be written.
        match since {
            Some(since) if since.same_boot => checkpoint.note(since.stamp)?,
            Some(_) => {}
            None => checkpoint.write(AuditId { millis: now_millis(), serial: 0 })?,
        }
        Ok((checkpoint, since))
    }

    /// Notes that the violation with this stamp is about to be counted. Of one that came out of order nothing is
    /// noted.
    pub fn note(&mut self, stamp: AuditId) -> io::Result<()> {
        if self.last.is_some_and(|last| !Since { stamp: last, same_boot: true }.is_before(stamp)) {
            return Ok(());
        }
        self.last = Some(stamp);
        self.write(stamp)
    }

    fn write(&self, AuditId { millis, serial }: AuditId) -> io::Result<()> {
        let mut stored = Stored { magic: MAGIC, boot: self.boot, millis, serial, sum: 0 };
        stored.sum = sum(&stored);
        self.file.write_all_at(bytemuck::bytes_of(&stored), 0)
    }
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
    use super::*;

    const fn stamp(millis: u64, serial: u64) -> AuditId {
        AuditId { millis, serial }
    }

    #[test]
    fn what_was_counted_is_left_to_the_next_agent() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoint, before) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        assert_eq!(before, None, "the first agent has nothing to make up for");
        for (millis, serial) in [(1_000_000, 7), (1_000_001, 9), (1_000_001, 8)] {
            checkpoint.note(stamp(millis, serial)).unwrap();
        }
        let (_, since) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        let same = Since { stamp: stamp(1_000_001, 9), same_boot: true };
        assert_eq!(since, Some(same));
        let (_, since) = Checkpoint::open_in_boot(dir.path(), 2).unwrap();
        let other = Since { same_boot: false, ..same };
        assert_eq!(since, Some(other));
        for (name, since, id, want) in [
            ("the last one", same, stamp(1_000_001, 9), false),
            ("the next one", same, stamp(1_000_001, 10), true),
            ("the clock was set back a little", same, stamp(999_000, 10), true),
            ("of an older boot", same, stamp(1_000, 4711), false),
            ("before one that had counted none", Since { stamp: stamp(5, 0), ..same }, stamp(4, 9), false),
            ("the number went round", Since { stamp: stamp(5, 0xffff_ffff), ..same }, stamp(5, 0), true),
            ("after another boot, later", other, stamp(1_000_002, 1), true),
            ("after another boot, earlier", other, stamp(1_000_000, 4711), false),
        ] {
            assert_eq!(since.is_before(id), want, "{name}");
        }
    }

    #[test]
    fn damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut checkpoint, _) = Checkpoint::open_in_boot(dir.path(), 1).unwrap();
        checkpoint.note(stamp(5, 6)).unwrap();
        checkpoint.file.write_all_at(b"x", 25).unwrap();
        assert_eq!(Checkpoint::open_in_boot(dir.path(), 1).unwrap().1, None);
        assert!(Checkpoint::open(Path::new("/dev/null/state")).is_err());
    }
}
