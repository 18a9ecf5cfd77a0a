//! The agent's only unsafe code: kernel calls that no crate in use wraps.
#![expect(unsafe_code, reason = "socket options and an allocator call without a safe wrapper")]

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One instruction of a classic BPF socket filter.
pub(crate) type FilterInstruction = libc::sock_filter;

/// Attaches a classic BPF filter: messages that it refuses never reach the socket's buffer (socket(7),
/// `SO_ATTACH_FILTER`).
pub(crate) fn attach_filter(socket: impl AsFd, filter: &[FilterInstruction]) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: `program` and the instructions it points to live until the call returns; the kernel copies
    // them and does not write.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many messages the kernel dropped at this socket since it was opened (`SO_MEMINFO`,
/// `SK_MEMINFO_DROPS`; linux/sock_diag.h). Counts each one, also those that `ENOBUFS` reported together.
pub(crate) fn socket_drops(socket: impl AsFd) -> io::Result<u32> {
    const SK_MEMINFO_VARS: usize = 9;
    const SK_MEMINFO_DROPS: usize = 8;
    let mut info = [0u32; SK_MEMINFO_VARS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is writable for `len` bytes, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        let [.., drops] = info;
        const { assert!(SK_MEMINFO_DROPS + 1 == SK_MEMINFO_VARS, "the last one") };
        Ok(drops)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits for a descriptor to become readable. Only readable: waiting for writable too would wake at once,
/// and for ever, on a ring buffer.
pub(crate) fn watch_readable<T: AsFd + AsRawFd + 'static>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `T: AsFd` and owned: its descriptor stays open and the same for as long as `owner` lives, and
    // the `AsyncFd` takes it over.
    let watched = unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) };
    watched.map_err(|error| error.into_parts().1)
}

#[cfg(feature = "ebpf")]
/// Gives freed memory back to the system; the start needs much that the run does not.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no arguments that could be wrong; thread-safe (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
