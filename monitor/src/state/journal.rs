//! What is about to be printed, noted before it is: so that the agent after one that was killed knows what
//! has been printed and what has not.
//!
//! A record stays in the pinned ring until its line is written, so nothing is lost when the agent is killed.
//! But it may be killed after it wrote and before it released; the next one would write the lines again. An
//! entry says how long the file of events was, how much was to be added and up to where in the ring that
//! goes: the file's length tells the rest.
//!
//! The journal is one entry of fixed size, rewritten in place by one `pwrite`, which a kill does not
//! interrupt half-way. It need not survive the machine: the ring does not either.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::capture::Printed;

const FILE: &str = "printed";
const MODE: u32 = 0o600;
const MAGIC: u64 = u64::from_le_bytes(*b"aamon-j1");
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is about to be printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's id of the ring that the lines come from.
    pub ring: u32,
    /// Where in it the records of these lines end.
    pub position: usize,
    /// How long the file is.
    pub length: u64,
    /// How much is to be added.
    pub bytes: u64,
    /// How many of the lines are not from the ring, and so cannot be printed again.
    pub audit: u64,
}

/// An entry as it stands in the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
struct Stored {
    magic: u64,
    /// Of the boot id: rings and their numbers end with it.
    boot: u64,
    ring: u64,
    position: u64,
    length: u64,
    bytes: u64,
    audit: u64,
    /// Of the file of events.
    device: u64,
    inode: u64,
    /// Of all that is before.
    sum: u64,
}

/// The journal's file, and the file of events that it is about.
#[derive(Debug)]
pub struct Journal {
    file: File,
    boot: u64,
    device: u64,
    inode: u64,
}

/// What the entry of an agent before comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Up to where it had printed.
    pub printed: Option<Printed>,
    /// How many lines it had not printed, and nobody can any more.
    pub audit_lost: u64,
}

impl Journal {
    /// Opens the journal in the state directory for a file of events; `None` when that is no regular file, of
    /// which alone can be told what was written.
    pub fn open(state_dir: &Path, events: &File) -> io::Result<Option<Self>> {
        let metadata = events.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let file = file.open(state_dir.join(FILE))?;
        Ok(Some(Self { file, boot: boot()?, device: metadata.dev(), inode: metadata.ino() }))
    }

    /// Compares the last entry with the file of events. Lines that were printed in part are cut off: they are
    /// printed anew.
    pub fn left(&self, events: &File) -> io::Result<Left> {
        let nothing = Left { printed: None, audit_lost: 0 };
        let mut entry = Stored::default();
        if self.file.read_exact_at(bytemuck::bytes_of_mut(&mut entry), 0).is_err() || !self.is_ours(&entry) {
            return Ok(nothing);
        }
        let length = events.metadata()?.len();
        let whole = entry.length.saturating_add(entry.bytes);
        if length >= whole {
            let position = usize::try_from(entry.position).unwrap_or(0);
            let printed = u32::try_from(entry.ring).ok().map(|ring| Printed { ring, position });
            return Ok(Left { printed, audit_lost: 0 });
        }
        // Shorter than it was: somebody rotates it, and nothing can be told.
        if length < entry.length {
            return Ok(nothing);
        }
        events.set_len(entry.length)?;
        Ok(Left { printed: None, audit_lost: entry.audit })
    }

    /// Notes what is about to be added to the file of events.
    pub fn note(&self, entry: Entry) -> io::Result<()> {
        let Entry { ring, position, length, bytes, audit } = entry;
        let mut stored = Stored {
            magic: MAGIC,
            boot: self.boot,
            ring: ring.into(),
            position: position as u64,
            length,
            bytes,
            audit,
            device: self.device,
            inode: self.inode,
            sum: 0,
        };
        stored.sum = sum(&stored);
        self.file.write_all_at(bytemuck::bytes_of(&stored), 0)
    }

    fn is_ours(&self, entry: &Stored) -> bool {
        entry.magic == MAGIC
            && entry.sum == sum(&Stored { sum: 0, ..*entry })
            && (entry.boot, entry.device, entry.inode) == (self.boot, self.device, self.inode)
    }
}

pub(super) fn boot() -> io::Result<u64> {
    Ok(fnv(std::fs::read(BOOT_ID)?.as_slice()))
}

fn sum(entry: &Stored) -> u64 {
    fnv(bytemuck::bytes_of(entry))
}

/// FNV-1a: tells damage, not intent.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn events(path: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(path).unwrap()
    }

    #[test]
    fn the_length_of_the_file_tells_what_was_printed() {
        let noted = Entry { ring: 7, position: 4096, length: 4, bytes: 6, audit: 2 };
        let printed = Some(Printed { ring: 7, position: 4096 });
        for (name, written, want, text) in [
            ("nothing", "", Left { printed: None, audit_lost: 2 }, "old\n"),
            ("a part", "new", Left { printed: None, audit_lost: 2 }, "old\n"),
            ("all", "new 1\n", Left { printed, audit_lost: 0 }, "old\nnew 1\n"),
            ("all, and more", "new 1\nx\n", Left { printed, audit_lost: 0 }, "old\nnew 1\nx\n"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("events");
            let mut file = events(&path);
            file.write_all(b"old\n").unwrap();
            Journal::open(dir.path(), &file).unwrap().unwrap().note(noted).unwrap();
            file.write_all(written.as_bytes()).unwrap();
            let file = events(&path);
            let next = Journal::open(dir.path(), &file).unwrap().unwrap();
            assert_eq!(next.left(&file).unwrap(), want, "{name}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn what_is_damaged_or_about_another_file_says_nothing() {
        let nothing = Left { printed: None, audit_lost: 0 };
        let noted = Entry { ring: 7, position: 8, length: 0, bytes: 9, audit: 1 };
        let dir = tempfile::tempdir().unwrap();
        let file = events(&dir.path().join("events"));
        let journal = Journal::open(dir.path(), &file).unwrap().unwrap();
        assert_eq!(journal.left(&file).unwrap(), nothing, "no entry yet");
        journal.note(noted).unwrap();
        let other = events(&dir.path().join("other"));
        let about_other = Journal::open(dir.path(), &other).unwrap().unwrap();
        assert_eq!(about_other.left(&other).unwrap(), nothing, "another file");
        journal.file.write_all_at(b"x", 20).unwrap();
        assert_eq!(journal.left(&file).unwrap(), nothing, "damaged");
        journal.note(noted).unwrap();
        file.set_len(0).unwrap();
        assert_eq!(journal.left(&file).unwrap().audit_lost, 1, "whole");
    }

    #[test]
    fn a_pipe_has_no_journal() {
        let dir = tempfile::tempdir().unwrap();
        let null = OpenOptions::new().append(true).open("/dev/null").unwrap();
        assert!(Journal::open(dir.path(), &null).unwrap().is_none());
    }
}
