//! Draining the multicast socket.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{NetlinkAddr, recvfrom};
use tokio_util::sync::CancellationToken;

use super::socket::{self, OpenError};
use super::status;
use crate::capture::{Batch, Outlet, Source};
use crate::ledger::{Ledger, Loss};
use crate::sys;

/// How to open the stream.
#[derive(Clone, Copy, Debug)]
pub struct AuditOptions {
    /// The socket's receive buffer in bytes.
    pub buffer: usize,
}

/// The open stream.
pub struct AuditStream {
    socket: Arc<OwnedFd>,
}

/// `struct nlmsghdr` (linux/netlink.h).
const HEADER: usize = 16;
/// Longer than any audit record (`MAX_AUDIT_MESSAGE_LENGTH` is 8970).
const MESSAGE_MAX: usize = 16 * 1024;
/// Batches taken in one go before other tasks get their turn.
const TURN: usize = 16;

/// A record in a batch: its type, two bytes in the machine's order, then its text.
pub fn split_record(record: &[u8]) -> Option<(u16, &[u8])> {
    let (kind, text) = record.split_first_chunk::<2>()?;
    Some((u16::from_ne_bytes(*kind), text))
}

impl AuditStream {
    /// Joins the multicast group. Records queue from here on.
    pub fn open(options: AuditOptions, ledger: &Ledger) -> Result<Self, OpenError> {
        let socket = Arc::new(socket::open(options.buffer)?);
        let watched = Arc::clone(&socket);
        ledger.on_refresh(Box::new(move |ledger| {
            if let Ok(drops) = sys::socket_drops(&*watched) {
                ledger.set_lost(Loss::SocketFull, u64::from(drops));
            }
        }));
        status::watch(ledger);
        ledger.source_up(Source::Audit);
        Ok(Self { socket })
    }

    /// Hands records over until `stop`, then what is still queued.
    pub async fn run(self, to: Outlet, stop: CancellationToken) -> io::Result<()> {
        let socket = sys::watch_readable(self.socket)?;
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let mut ready = tokio::select! {
                ready = socket.readable() => ready?,
                () = to.asked() => {
                    let at = Instant::now();
                    if drain(socket.get_ref(), &mut buffer, &to, TURN)? {
                        to.deliver(Batch::marker(at));
                    }
                    continue;
                }
                () = stop.cancelled() => break,
            };
            if drain(socket.get_ref(), &mut buffer, &to, TURN)? {
                ready.clear_ready();
            }
        }
        drain(socket.get_ref(), &mut buffer, &to, usize::MAX)?;
        Ok(())
    }
}

/// Takes up to `batches` batches; true when the socket was empty at the end.
fn drain(socket: &OwnedFd, buffer: &mut [u8], to: &Outlet, batches: usize) -> io::Result<bool> {
    for _ in 0..batches {
        let now = Instant::now();
        let mut batch = Batch::new(now);
        let empty = fill(socket, buffer, &mut batch, to.ledger())?;
        if empty && !batch.is_empty() {
            batch.mark_drained(now);
        }
        to.deliver(batch);
        if empty {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fills a batch; true when the socket was empty.
fn fill(socket: &OwnedFd, buffer: &mut [u8], batch: &mut Batch, ledger: &Ledger) -> io::Result<bool> {
    while !batch.is_full() {
        match recvfrom::<NetlinkAddr>(socket.as_raw_fd(), buffer) {
            Ok((len, from)) => take(buffer.get(..len).unwrap_or_default(), from, batch, ledger),
            Err(Errno::EAGAIN) => return Ok(true),
            // Messages were dropped; how many, the socket's own counter says.
            Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

/// One datagram is one audit record.
fn take(datagram: &[u8], from: Option<NetlinkAddr>, batch: &mut Batch, ledger: &Ledger) {
    // The kernel's own port is 0. A process with CAP_NET_ADMIN can send to this socket too.
    if from.is_none_or(|from| from.pid() != 0) {
        ledger.lose(Loss::UntrustedSender, 1);
        return;
    }
    // nlmsg_len is not trusted: the kernel writes it with and without the header (kernel/audit.c).
    let (Some(kind), Some(text)) = (datagram.get(4..6), datagram.get(HEADER..)) else {
        ledger.lose(Loss::AuditMalformed, 1);
        return;
    };
    // The text ends with NUL on some kernels.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    batch.push_parts(&[kind, text]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u16, text: &[u8]) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        out[4..6].copy_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(text);
        out
    }

    #[test]
    fn takes_records_from_the_kernel_only() {
        let kernel = Some(NetlinkAddr::new(0, 1));
        let process = Some(NetlinkAddr::new(4711, 1));
        for (name, bytes, from, want, lost) in [
            (
                "a record",
                datagram(1400, b"audit(1.002:3): x=1"),
                kernel,
                Some((1400, "audit(1.002:3): x=1")),
                None,
            ),
            ("with a NUL at the end", datagram(1400, b"x=1\0"), kernel, Some((1400, "x=1")), None),
            ("from a process", datagram(1400, b"x=1"), process, None, Some(Loss::UntrustedSender)),
            ("without a sender", datagram(1400, b"x=1"), None, None, Some(Loss::UntrustedSender)),
            ("shorter than a header", vec![0; 15], kernel, None, Some(Loss::AuditMalformed)),
        ] {
            let ledger = Ledger::default();
            let mut batch = Batch::new(Instant::now());
            take(&bytes, from, &mut batch, &ledger);
            let got = batch.iter().next().and_then(split_record);
            assert_eq!(got, want.map(|(kind, text)| (kind, text.as_bytes())), "{name}");
            for loss in Loss::ALL {
                assert_eq!(ledger.lost_total(loss), u64::from(Some(loss) == lost), "{name}: {loss:?}");
            }
        }
    }
}
