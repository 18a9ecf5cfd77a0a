//! The kernel multicasts audit records into the initial network namespace only
//! (`kauditd_send_multicast_skb`, kernel/audit.c); elsewhere the socket binds and stays silent.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::{io, thread};

use nix::sched::{CloneFlags, setns};

/// Inode number of the initial network namespace (`PROC_NET_INIT_INO`, from 6.15 on; before that it is the
/// first namespace inode the kernel hands out, which pid 1 of the host tells).
const HOST: &str = "/proc/1/ns/net";
const OWN: &str = "/proc/self/ns/net";

/// Whether this process is in the initial network namespace, as far as it can see. Where /proc/1 may not be
/// read (no CAP_SYS_PTRACE), it is taken to be: the socket then tells by its silence.
pub(super) fn is_initial() -> bool {
    match (inode(HOST), inode(OWN)) {
        (Ok(host), Ok(own)) => host == own,
        _ => true,
    }
}

/// Runs `work` on a thread that has entered the initial network namespace. A socket opened there stays
/// there; the rest of the process stays where it is.
pub(super) fn in_initial<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    thread::Builder::new()
        .name("netns".to_owned())
        .spawn(move || {
            setns(File::open(HOST)?, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that opens the audit socket panicked")))
}

fn inode(path: &str) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}
