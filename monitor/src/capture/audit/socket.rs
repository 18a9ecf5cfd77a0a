//! Opening the multicast socket.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use caps::Capability;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockopt, setsockopt, socket,
    sockopt,
};
use tracing::warn;

use super::netns;
use crate::capture::privileges;
use crate::sys::{self, FilterInstruction};

/// `AUDIT_NLGRP_READLOG` (linux/audit.h) as a bit mask.
const READLOG: u32 = 1;

/// The record types that reach the agent: AVC, which is what the kernel writes; USER_AVC, which message
/// buses write; and the AppArmor types 1500 to 1507 that libaudit reserves.
const WANTED: [u16; 10] = [1400, 1107, 1500, 1501, 1502, 1503, 1504, 1505, 1506, 1507];

/// Of a socket that is only tried.
const TRIAL_BUFFER: usize = 4096;

/// Why there is no audit stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel was booted with `audit=0`, or without audit support.
    #[error(
        "this kernel has no audit (booted with audit=0, or built without it): boot with audit=1 to have it"
    )]
    NoAudit,
    /// A capability is missing.
    #[error(
        "not permitted to read the audit stream: it needs CAP_AUDIT_READ in the initial user namespace{missing}"
    )]
    NotPermitted {
        /// Which one this process lacks, if that is the reason.
        missing: String,
    },
    /// A filter of system calls stands before the kernel, which itself has no such answer to these arguments.
    #[error(
        "the container's seccomp profile refuses audit sockets: podman's and CRI-O's do to all without \
         CAP_AUDIT_WRITE; add that capability, or run with another profile"
    )]
    Seccomp,
    /// The group is delivered into the initial network namespace only.
    #[error(
        "the kernel sends audit records into the initial network namespace only, and this process is in another: \
         use hostNetwork, or grant CAP_SYS_ADMIN and CAP_SYS_PTRACE (with hostPID) so that it can enter it: {0}"
    )]
    OtherNetns(io::Error),
    /// Any other failure.
    #[error("audit socket: {0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Opens a socket that receives every AppArmor record, from whatever network namespace the agent is in.
pub(super) fn open(buffer: usize) -> Result<OwnedFd, OpenError> {
    if netns::is_initial() {
        return open_here(buffer);
    }
    netns::in_initial(move || open_here(buffer)).map_err(OpenError::OtherNetns)?
}

/// Opens and closes one: whether there can be an audit source here.
pub fn try_out() -> Result<(), OpenError> {
    open(TRIAL_BUFFER).map(drop)
}

fn open_here(buffer: usize) -> Result<OwnedFd, OpenError> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkAudit,
    )
    .map_err(|errno| match errno {
        Errno::EPROTONOSUPPORT => OpenError::NoAudit,
        Errno::EINVAL => OpenError::Seccomp,
        other => other.into(),
    })?;
    set_buffer(&fd, buffer)?;
    // Before bind: nothing unwanted is ever queued.
    sys::attach_filter(&fd, &filter())?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, READLOG)).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES => {
            let missing = privileges::missing(&[Capability::CAP_AUDIT_READ]);
            OpenError::NotPermitted {
                missing: if missing.is_empty() {
                    String::new()
                } else {
                    ", which this process lacks".to_owned()
                },
            }
        }
        other => other.into(),
    })?;
    Ok(fd)
}

/// Asks for a receive buffer of this size: by force, which CAP_NET_ADMIN allows, else within net.core.rmem_max.
fn set_buffer(fd: &OwnedFd, bytes: usize) -> Result<(), OpenError> {
    if setsockopt(fd, sockopt::RcvBufForce, &bytes).is_ok() {
        return Ok(());
    }
    setsockopt(fd, sockopt::RcvBuf, &bytes)?;
    // The kernel doubles what is asked for, for its own bookkeeping (socket(7)).
    let got = getsockopt(fd, sockopt::RcvBuf)? / 2;
    if got < bytes {
        warn!(
            asked = bytes,
            got,
            "audit socket buffer is limited by net.core.rmem_max: raise it or grant CAP_NET_ADMIN; bursts may be lost"
        );
    }
    Ok(())
}

/// Lets the wanted record types through and nothing else. Runs before the message is charged to the buffer,
/// so that a flood of system call records cannot push AppArmor's out.
fn filter() -> Vec<FilterInstruction> {
    // Classic BPF loads in network order; nlmsg_type (at 4) is in the machine's.
    const LD_H_ABS: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let count = WANTED.len();
    let mut program = vec![FilterInstruction { code: LD_H_ABS, jt: 0, jf: 0, k: 4 }];
    program.extend(WANTED.iter().enumerate().map(|(i, wanted)| FilterInstruction {
        code: JEQ,
        // Over the remaining comparisons and the refusal.
        jt: (count - i) as u8,
        jf: 0,
        k: u32::from(wanted.to_be()),
    }));
    program.push(FilterInstruction { code: RET, jt: 0, jf: 0, k: 0 });
    program.push(FilterInstruction { code: RET, jt: 0, jf: 0, k: u32::MAX });
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would on a message of this type.
    fn passes(nlmsg_type: u16) -> bool {
        let program = filter();
        let loaded = u32::from(u16::from_be_bytes(nlmsg_type.to_ne_bytes()));
        let mut at = 1;
        loop {
            let instruction = &program[at];
            if instruction.code == (libc::BPF_RET | libc::BPF_K) as u16 {
                return instruction.k != 0;
            }
            at += 1 + usize::from(if instruction.k == loaded { instruction.jt } else { instruction.jf });
        }
    }

    #[test]
    fn only_wanted_types_pass() {
        let passed: Vec<u16> = (0..=u16::MAX).filter(|ty| passes(*ty)).collect();
        let mut wanted = WANTED.to_vec();
        wanted.sort_unstable();
        assert_eq!(passed, wanted);
    }
}
