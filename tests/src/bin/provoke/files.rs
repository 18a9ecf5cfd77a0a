//! Files, links, execution.

use std::ffi::{CString, c_void};
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, renameat};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, execv, ftruncate, linkat, unlinkat};

use crate::Operation;
use crate::Perform::{One, Two};

const NEW: OFlag = OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_EXCL);

pub(crate) const OPERATIONS: &[Operation] = &[
    ("open", "PATH", One(|path| open(path, OFlag::O_RDONLY, Mode::empty()).map(drop))),
    ("write", "PATH", One(|path| open(path, OFlag::O_WRONLY, Mode::empty()).map(drop))),
    ("create", "PATH", One(|path| open(path, NEW, Mode::S_IRUSR).map(drop))),
    ("truncate", "PATH", One(|path| ftruncate(open(path, OFlag::O_WRONLY, Mode::empty())?, 0))),
    ("unlink", "PATH", One(|path| unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir))),
    ("rename", "FROM TO", Two(|from, to| renameat(AT_FDCWD, from, AT_FDCWD, to))),
    ("chmod", "PATH", One(|path| fchmodat(AT_FDCWD, path, Mode::S_IRUSR, FchmodatFlags::FollowSymlink))),
    ("link", "FROM TO", Two(|from, to| linkat(AT_FDCWD, from, AT_FDCWD, to, LinkatFlags::empty()))),
    ("lock", "PATH", One(lock)),
    ("exec", "PATH", One(exec)),
    ("mmap", "PATH", One(|path| map(path, ProtFlags::PROT_READ | ProtFlags::PROT_EXEC).map(drop))),
    ("mprotect", "PATH", One(mprotect)),
];

fn lock(path: &str) -> nix::Result<()> {
    let file = open(path, OFlag::O_RDONLY, Mode::empty())?;
    #[expect(unsafe_code, reason = "flock(2) without taking the descriptor over")]
    // SAFETY: the descriptor is open for the length of the call; flock touches no memory.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Ends this process when the file can be executed. A file that is executable by its mode but no program
/// (ENOEXEC) is asked about just the same, and then nothing runs under another profile.
fn exec(path: &str) -> nix::Result<()> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    execv(&path, &[&path]).map(drop)
}

/// One page; a file may be shorter than that.
const PAGE: NonZero<usize> = NonZero::new(4096).expect("a page is not empty");

/// Maps a file; unmapped when this process ends.
fn map(path: &str, protection: ProtFlags) -> nix::Result<NonNull<c_void>> {
    let file = open(path, OFlag::O_RDONLY, Mode::empty())?;
    #[expect(unsafe_code, reason = "mmap(2)")]
    // SAFETY: the kernel chooses the address, so nothing of this process is replaced; nobody reads the memory.
    unsafe {
        mmap(None, PAGE, protection, MapFlags::MAP_PRIVATE, file, 0)
    }
}

/// Makes executable what was mapped for reading.
fn mprotect(path: &str) -> nix::Result<()> {
    let memory = map(path, ProtFlags::PROT_READ)?;
    #[expect(unsafe_code, reason = "mprotect(2)")]
    // SAFETY: the memory is a mapping of this length that nothing else uses.
    unsafe {
        nix::sys::mman::mprotect(memory, PAGE.get(), ProtFlags::PROT_READ | ProtFlags::PROT_EXEC)
    }
}
