//! The agent's only unsafe code: kernel calls that no crate in use wraps.
#![expect(unsafe_code, reason = "socket options and an allocator call without a safe wrapper")]

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};
#[cfg(feature = "ebpf")]
use std::ptr::NonNull;
#[cfg(feature = "ebpf")]
use std::sync::atomic::{AtomicU32, AtomicUsize};

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

/// Keeps the heap from holding on to what was freed: glibc would take an arena for each of eight threads a core,
/// and stop giving large blocks back once one of that size was freed (mallopt(3)). Before the first thread.
pub fn tame_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers; called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
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

/// Tells aya that these types may be map keys and values.
#[cfg(feature = "ebpf")]
macro_rules! plain_for_maps {
    ($($ty:ty),*) => {$(
        // SAFETY: a transparent wrapper of a type that is `bytemuck::Pod`: no padding, every bit pattern valid.
        #[expect(unsafe_code, reason = "aya's own Pod is an unsafe trait")]
        unsafe impl aya::Pod for $ty {}
    )*};
}
#[cfg(feature = "ebpf")]
pub(crate) use plain_for_maps;

#[cfg(feature = "ebpf")]
/// Memory shared with the kernel, or with whoever else has the file.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the mapping alone and is reached only by atomic operations and copies.
#[cfg(feature = "ebpf")]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[cfg(feature = "ebpf")]
unsafe impl Sync for Mapping {}

#[cfg(feature = "ebpf")]
impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on, shared.
    pub(crate) fn new(file: impl AsFd, offset: usize, len: usize, writable: bool) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let offset =
            libc::off_t::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let fd = file.as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { start, len })
    }

    /// The first word.
    pub(crate) fn word(&self) -> &AtomicUsize {
        const { assert!(size_of::<AtomicUsize>() <= 4096, "a mapping is at least a page") };
        // SAFETY: a mapping starts at a page and is at least one long; others write the word atomically.
        unsafe { self.start.cast::<AtomicUsize>().as_ref() }
    }

    /// The 32 bits at an offset that four divides; `None` outside of the mapping.
    pub(crate) fn half_word(&self, offset: usize) -> Option<&AtomicU32> {
        (offset.is_multiple_of(4) && offset.checked_add(4)? <= self.len)
            // SAFETY: inside the mapping and aligned, as just checked; others write it atomically.
            .then(|| unsafe { self.start.add(offset).cast::<AtomicU32>().as_ref() })
    }

    /// Appends a copy of `len` bytes at `offset`, which nobody may be writing; false outside of the mapping.
    pub(crate) fn copy(&self, offset: usize, len: usize, to: &mut Vec<u8>) -> bool {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return false;
        }
        // SAFETY: inside the mapping, as just checked, and nobody writes these bytes while they are copied.
        to.extend_from_slice(unsafe { std::slice::from_raw_parts(self.start.add(offset).as_ptr(), len) });
        true
    }
}

#[cfg(feature = "ebpf")]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(feature = "ebpf")]
/// Opens what is pinned at `path` (bpf(2): `BPF_OBJ_GET`). aya's own call also looks up the BTF object that a
/// program was attached by, which takes CAP_SYS_ADMIN.
pub(crate) fn open_pin(path: &std::path::Path) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    use std::os::unix::ffi::OsStrExt as _;

    const BPF_OBJ_GET: libc::c_long = 7;
    /// The part of `union bpf_attr` that is for this command.
    #[repr(C)]
    struct ObjectGet {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjectGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `attributes` and the path that it points to live until the call returns; the kernel only reads them.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<ObjectGet>()) };
    match libc::c_int::try_from(fd) {
        // SAFETY: a new descriptor, which nobody else has.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(feature = "ebpf")]
/// Waits until every run of an eBPF program that had begun is over (membarrier(2): `MEMBARRIER_CMD_GLOBAL`
/// waits for an RCU grace period, and programs run inside of one).
pub(crate) fn wait_for_programs() -> io::Result<()> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
