//! One agent a node: two would take each other's records out of the pinned ring.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const FILE: &str = "lock";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs here.
    #[error(
        "another agent runs on this node: process {holder} holds {}; stop it, or give this one its own \
         --state-dir and --pin-dir",
        path.display()
    )]
    Taken {
        /// The lock's file.
        path: PathBuf,
        /// The process id that stands in it.
        holder: String,
    },
    /// The state directory cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Held as long as the agent runs; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Makes the state directory if it is not there, and takes the lock in it.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        let path = state_dir.join(FILE);
        let file =
            open(state_dir, &path).map_err(|source| LockError::Io { path: state_dir.to_owned(), source })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // A full disk must not keep the agent from running: the lock holds, it only does not say whose.
                let _nameless = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let read = (&mut file).take(32).read_to_string(&mut holder);
                let holder = if read.is_ok() { holder.trim() } else { "" };
                let holder = if holder.is_empty() { "of unknown id" } else { holder }.to_owned();
                Err(LockError::Taken { path, holder })
            }
            Err((_, errno)) => Err(LockError::Io { path: state_dir.to_owned(), source: errno.into() }),
        }
    }
}

fn open(state_dir: &Path, path: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(state_dir)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("deep/state");
        let first = Lock::take(&state_dir).unwrap();
        let error = Lock::take(&state_dir).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} holds", std::process::id())), "{error}");
        drop(first);
        Lock::take(&state_dir).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let error = Lock::take(Path::new("/dev/null/state")).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with("/dev/null/state: "), "{error}");
    }
}
