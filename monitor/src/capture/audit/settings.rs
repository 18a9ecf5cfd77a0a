//! What audit is set to, as far as one may ask (`AUDIT_GET`, kernel/audit.c).

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// `AUDIT_GET` (linux/audit.h).
const GET: u16 = 1000;
/// `NLMSG_ERROR` and `NLM_F_REQUEST` (linux/netlink.h).
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// What limits the stream of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Records a second that are written at most; 0 without a limit.
    pub rate_limit: u32,
    /// Records that may wait.
    pub backlog_limit: u32,
    /// Records that were lost since boot.
    pub lost: u32,
}

/// Asks the kernel. Needs `CAP_AUDIT_CONTROL`, and the initial user and pid namespaces.
pub fn settings() -> io::Result<Settings> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkAudit)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(1, 0))?;
    let length = u32::try_from(HEADER).unwrap_or_default().to_ne_bytes();
    let mut message = Vec::with_capacity(HEADER);
    message.extend_from_slice(&length);
    message.extend_from_slice(&GET.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.resize(HEADER, 0);
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let got = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    parse(answer.get(..got).unwrap_or_default())
}

/// The answer: a header, then `struct audit_status`, of which kernels know a longer one from time to time; or an
/// errno.
fn parse(answer: &[u8]) -> io::Result<Settings> {
    let word = |index: usize| {
        let bytes = answer.get(HEADER + 4 * index..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk::<2>()).map(|kind| u16::from_ne_bytes(*kind));
    // mask, enabled, failure, pid, rate_limit, backlog_limit, lost.
    match (kind, word(0), word(4), word(5), word(6)) {
        (Some(ERROR), Some(errno), ..) => {
            Err(io::Error::from_raw_os_error(errno.cast_signed().wrapping_neg()))
        }
        (Some(GET), _, Some(rate_limit), Some(backlog_limit), Some(lost)) => {
            Ok(Settings { rate_limit, backlog_limit, lost })
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is none that is known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, words: &[u32]) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        message
    }

    #[test]
    fn an_answer_is_limits_an_error_or_nothing_known() {
        let want = Settings { rate_limit: 100, backlog_limit: 64, lost: 7 };
        assert_eq!(parse(&message(GET, &[0, 1, 1, 0, 100, 64, 7, 3, 127, 60])).unwrap(), want);
        let refused = parse(&message(ERROR, &[(-libc::EPERM).cast_unsigned(), 0])).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        for (name, bytes) in
            [("cut", message(GET, &[0, 1, 1])), ("another", message(3, &[0; 10])), ("empty", Vec::new())]
        {
            assert_eq!(parse(&bytes).unwrap_err().kind(), io::ErrorKind::InvalidData, "{name}");
        }
    }
}
