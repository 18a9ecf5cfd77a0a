//! What the kernel's audit says of itself: how many records it has lost, and how many wait.
//!
//! `AUDIT_GET` asks for CAP_AUDIT_CONTROL in the initial user and process id namespaces (`audit_netlink_ok`,
//! kernel/audit.c), which the agent does without: the number is of all records and of all their readers. Where
//! it may be asked for, it is.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use caps::Capability;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::capture::privileges;
use crate::ledger::{AuditStatus, Ledger, Loss};

const HEADER: usize = 16;
const AUDIT_GET: u16 = 1000;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// Replies are sent by a kernel thread of their own (`audit_send_reply`), so they take a moment. A scrape waits
/// no longer; the next one asks again.
const PATIENCE_MS: i64 = 100;
/// More than what one answer can be behind of: each request has one.
const STALE: usize = 16;

/// Has the kernel's numbers read before every scrape, if that is permitted; says so if it is not.
pub(super) fn watch(ledger: &Ledger) {
    let asked = Asker::open().and_then(|mut asker| Ok((asker.ask()?, asker)));
    let (first, asker) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            let lacks = privileges::missing(&[Capability::CAP_AUDIT_CONTROL]);
            tracing::info!(
                %error,
                lacks = lacks.join(", "),
                "the kernel's own count of lost audit records is not read: it needs CAP_AUDIT_CONTROL in the \
                 initial user and process id namespaces; aa_monitor_audit_status_readable says so"
            );
            return;
        }
    };
    ledger.set_audit_status(Some(first.status));
    let state = Mutex::new((asker, Lost { last: first.lost, since: 0 }));
    ledger.on_scrape(Box::new(move |ledger| {
        let (asker, lost) = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
        match asker.ask() {
            Ok(Answer { status, lost: total }) => {
                ledger.set_lost(Loss::AuditKernel, lost.note(total));
                ledger.set_audit_status(Some(status));
            }
            // Too late for this scrape: what the last one told still stands.
            Err(Refused::Errno(Errno::EAGAIN)) => {}
            Err(error) => {
                tracing::debug!(%error, "the kernel does not say how many audit records it has lost");
                ledger.set_audit_status(None);
            }
        }
    }));
}

/// The kernel's count since this agent began: it can be set back (`auditctl --reset-lost`), ours only grows.
#[derive(Clone, Copy, Debug)]
struct Lost {
    last: u32,
    since: u64,
}

impl Lost {
    fn note(&mut self, total: u32) -> u64 {
        self.since += u64::from(total.checked_sub(self.last).unwrap_or(total));
        self.last = total;
        self.since
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Errno(#[from] Errno),
    #[error("the kernel's answer is not understood")]
    Nonsense,
}

/// A status as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    status: AuditStatus,
    lost: u32,
}

/// A socket to ask on; not the one that records come by.
struct Asker {
    socket: OwnedFd,
    sequence: u32,
}

impl Asker {
    fn open() -> Result<Self, Refused> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PATIENCE_MS))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn ask(&mut self) -> Result<Answer, Refused> {
        self.sequence = self.sequence.wrapping_add(1);
        let fd = self.socket.as_raw_fd();
        sendto(fd, &request(self.sequence), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut buffer = [0; 512];
        for _ in 0..STALE {
            let (length, from) = recvfrom::<NetlinkAddr>(fd, &mut buffer)?;
            // A process can send here too.
            if from.is_some_and(|from| from.pid() == 0)
                && let Some(answer) = read(buffer.get(..length).unwrap_or_default(), self.sequence)
            {
                return answer;
            }
        }
        Err(Refused::Nonsense)
    }
}

/// A request without a payload (`struct nlmsghdr`).
fn request(sequence: u32) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    let fields: [&[u8]; 4] = [
        &(HEADER as u32).to_ne_bytes(),
        &AUDIT_GET.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &sequence.to_ne_bytes(),
    ];
    for (to, from) in out.iter_mut().zip(fields.concat()) {
        *to = from;
    }
    out
}

/// Reads an answer; `None` for one to another request. After the header: an error is a negative errno,
/// a status is `struct audit_status` (linux/audit.h), of which every kernel in use has the first eight words.
fn read(message: &[u8], sequence: u32) -> Option<Result<Answer, Refused>> {
    let word = |at: usize| {
        let bytes = message.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk::<2>()?);
    if word(8)? != sequence {
        return None;
    }
    let field = |number: usize| word(HEADER + 4 * number);
    match kind {
        NLMSG_ERROR => {
            let errno = field(0)?.cast_signed().wrapping_neg();
            Some(Err(Errno::from_raw(errno).into()))
        }
        AUDIT_GET => {
            let (Some(limit), Some(lost), Some(backlog)) = (field(5), field(6), field(7)) else {
                return Some(Err(Refused::Nonsense));
            };
            Some(Ok(Answer { status: AuditStatus { backlog, backlog_limit: limit }, lost }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, words: &[u32]) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        out[4..6].copy_from_slice(&kind.to_ne_bytes());
        out[8..12].copy_from_slice(&sequence.to_ne_bytes());
        out.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        out
    }

    #[test]
    fn an_answer_is_read_by_its_sequence_and_type() {
        let status = [0, 1, 1, 4711, 0, 64, 12, 3, 0x7f, 60_000];
        let told = Answer { status: AuditStatus { backlog: 3, backlog_limit: 64 }, lost: 12 };
        let eperm = (-libc::EPERM).cast_unsigned();
        for (name, bytes, want) in [
            ("a status", message(AUDIT_GET, 7, &status), Some(Ok(told))),
            ("of an old kernel", message(AUDIT_GET, 7, &status[..8]), Some(Ok(told))),
            ("of another request", message(AUDIT_GET, 6, &status), None),
            ("a refusal", message(NLMSG_ERROR, 7, &[eperm]), Some(Err("EPERM"))),
            ("cut off", message(AUDIT_GET, 7, &status[..7]), Some(Err("the kernel's answer"))),
            ("another type", message(1400, 7, &status), None),
            ("no header", vec![0; 9], None),
        ] {
            match (read(&bytes, 7), want) {
                (None, None) => {}
                (Some(Ok(got)), Some(Ok(want))) => assert_eq!(got, want, "{name}"),
                (Some(Err(got)), Some(Err(want))) => {
                    assert!(got.to_string().contains(want), "{name}: {got}");
                }
                (got, want) => panic!("{name}: want {want:?}, got {got:?}"),
            }
        }
    }

    #[test]
    fn the_count_begins_with_the_agent_and_only_grows() {
        let mut lost = Lost { last: 100, since: 0 };
        for (total, want) in [(100, 0), (105, 5), (105, 5), (2, 7), (3, 8)] {
            assert_eq!(lost.note(total), want, "after {total}");
        }
    }

    #[test]
    fn a_request_is_a_header() {
        let mut want = message(AUDIT_GET, 9, &[]);
        want[0] = 16;
        want[6] = 1;
        assert_eq!(request(9).as_slice(), want);
    }
}
