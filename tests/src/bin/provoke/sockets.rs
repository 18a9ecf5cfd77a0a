//! Sockets of several families.

use std::io;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::Operation;
use crate::Perform::{Nothing, One};

pub(crate) const OPERATIONS: &[Operation] = &[
    ("inet", "", Nothing(|| open(AddressFamily::Inet, SockType::Stream))),
    ("inet_dgram", "", Nothing(|| open(AddressFamily::Inet, SockType::Datagram))),
    ("inet6", "", Nothing(|| open(AddressFamily::Inet6, SockType::Stream))),
    ("netlink", "", Nothing(|| open(AddressFamily::Netlink, SockType::Raw))),
    ("packet", "", Nothing(|| open(AddressFamily::Packet, SockType::Raw))),
    ("unix", "", Nothing(|| open(AddressFamily::Unix, SockType::Stream))),
    ("connect", "ADDRESS:PORT", One(|to| TcpStream::connect(to).map(drop).map_err(errno))),
    (
        "unix_bind",
        "NAME",
        One(|name| {
            let name = SocketAddr::from_abstract_name(name).map_err(errno)?;
            UnixListener::bind_addr(&name).map(drop).map_err(errno)
        }),
    ),
];

fn open(family: AddressFamily, kind: SockType) -> nix::Result<()> {
    socket(family, kind, SockFlag::empty(), None).map(drop)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}
