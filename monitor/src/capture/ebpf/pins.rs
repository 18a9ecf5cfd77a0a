//! What outlives the agent, in the BPF file system.
//!
//! ```text
//! /sys/fs/bpf/aa-monitor/v3/
//!   stamp-link, event-link        the anchors, attached for good: nothing is missed while no agent runs
//!   stamp-spare1-link and so on   the spares behind them
//!   stamp-anchor, event-anchor    their programs, of which the kernel tells how often they were skipped
//!   stamp-slot, event-slot        the programs that they go on to
//!   stamps, told, counters        shared by all of them; so are stamp-places and told-places
//!   ring-7-w1                     where the latest agent's programs write; its number and wire version
//! ```
//!
//! A new agent makes the next ring, sets the slots, which the kernel does at once for every CPU, waits for
//! the old programs' last runs, reads the old ring to its end and removes it. The folder's name changes with
//! what is above: an agent that finds another one cannot use it and removes it, which is said.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use aa_monitor_ebpf::WIRE_VERSION;

/// Changes with the anchors, the slots, and the maps that all agents share.
const FOLDER: &str = "v3";
/// Only root may take records from the rings.
const MODE: u32 = 0o700;

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// Not a BPF file system.
    #[error(
        "{} is on no BPF file system: mount one (mount -t bpf bpf /sys/fs/bpf), or name another folder with --pin-dir",
        .0.display()
    )]
    NoBpffs(PathBuf),
    /// The folder cannot be made or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The folder of pins of this version of the layout.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    top: PathBuf,
    folder: PathBuf,
}

/// A ring of an agent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PinnedRing {
    pub(super) number: u64,
    pub(super) wire: u16,
    /// Pinned by an agent with another layout.
    pub(super) foreign: bool,
    pub(super) path: PathBuf,
}

impl Pins {
    /// Makes the folder if it is not there.
    pub(super) fn open(top: &Path) -> Result<Self, PinsError> {
        let existing = top.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if !statfs(existing).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC) {
            return Err(PinsError::NoBpffs(top.to_owned()));
        }
        let folder = top.join(FOLDER);
        let made = fs::DirBuilder::new().recursive(true).mode(MODE).create(&folder);
        made.map_err(|source| PinsError::Io { path: folder.clone(), source })?;
        Ok(Self { top: top.to_owned(), folder })
    }

    /// Where something of this name is pinned.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The rings of agents before with another layout, which may go on with theirs until that is removed.
    pub(super) fn rings_of_others(&self) -> Vec<PinnedRing> {
        let others = entries(&self.top).filter(|path| *path != self.folder);
        let rings = others.flat_map(|folder| entries(&folder).collect::<Vec<_>>());
        rings.filter_map(|path| Some(PinnedRing { foreign: true, ..ring_of(&path)? })).collect()
    }

    /// The rings of agents before, oldest first.
    pub(super) fn rings(&self) -> Vec<PinnedRing> {
        let mut rings: Vec<PinnedRing> = entries(&self.folder).filter_map(|path| ring_of(&path)).collect();
        rings.sort_by_key(|ring| ring.number);
        rings
    }

    /// Where the next agent's ring goes.
    pub(super) fn next_ring(&self) -> PathBuf {
        let number = self.rings().last().map_or(1, |ring| ring.number + 1);
        self.folder.join(format!("ring-{number}-w{WIRE_VERSION}"))
    }

    /// Removes what another version of the layout left, which this one cannot use: its programs are detached. Says
    /// what.
    pub(super) fn remove_others(&self) -> Vec<PathBuf> {
        let mut others: Vec<_> = entries(&self.top).filter(|path| *path != self.folder).collect();
        others.retain(|path| path.is_dir() && fs::remove_dir_all(path).is_ok());
        others
    }

    /// Removes all pins: what is attached detaches.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)
    }
}

/// Removes everything that agents have pinned below `top`; false when there was nothing.
pub fn detach(top: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(top) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn ring_of(path: &Path) -> Option<PinnedRing> {
    let (number, wire) = path.file_name()?.to_str()?.strip_prefix("ring-")?.split_once("-w")?;
    let (number, wire) = (number.parse().ok()?, wire.parse().ok()?);
    Some(PinnedRing { number, wire, foreign: false, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(top: &Path) -> Pins {
        let folder = top.join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        Pins { top: top.to_owned(), folder }
    }

    #[test]
    fn rings_are_numbered_on() {
        let top = tempfile::tempdir().unwrap();
        let pins = pins(top.path());
        assert_eq!(pins.next_ring().file_name().unwrap(), format!("ring-1-w{WIRE_VERSION}").as_str());
        for name in ["ring-10-w1", "ring-9-w77", "ring-x-w1", "event-link", "ring-3"] {
            fs::write(pins.path(name), "").unwrap();
        }
        let found: Vec<_> = pins.rings().into_iter().map(|ring| (ring.number, ring.wire)).collect();
        assert_eq!(found, [(9, 77), (10, 1)]);
        assert_eq!(pins.next_ring(), pins.path(&format!("ring-11-w{WIRE_VERSION}")));
    }

    #[test]
    fn other_layouts_and_everything_can_be_removed() {
        let top = tempfile::tempdir().unwrap();
        let pins = pins(top.path());
        fs::write(pins.path("stamps"), "").unwrap();
        fs::write(pins.path("ring-2-w1"), "").unwrap();
        fs::create_dir(top.path().join("v0")).unwrap();
        fs::write(top.path().join("v0/ring-7-w1"), "").unwrap();
        let theirs: Vec<_> = pins.rings_of_others().iter().map(|ring| (ring.number, ring.foreign)).collect();
        assert_eq!(theirs, [(7, true)]);
        assert_eq!(pins.remove_others(), [top.path().join("v0")]);
        assert!(pins.path("stamps").exists());
        assert!(detach(top.path()).unwrap());
        assert!(!detach(top.path()).unwrap(), "nothing is left");
    }

    #[test]
    fn another_file_system_will_not_do() {
        let top = tempfile::tempdir().unwrap();
        let error = Pins::open(&top.path().join("aa-monitor")).unwrap_err();
        assert!(matches!(error, PinsError::NoBpffs(_)), "{error}");
        assert!(!top.path().join("aa-monitor").exists(), "nothing is made");
    }
}
