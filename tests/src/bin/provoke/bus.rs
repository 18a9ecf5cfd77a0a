//! D-Bus, as far as a first call needs it. AppArmor mediates it in the bus daemon.
//! <https://dbus.freedesktop.org/doc/dbus-specification.html>

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;

use crate::Operation;
use crate::Perform::One;

pub(crate) const OPERATIONS: &[Operation] = &[(
    "bus_hello",
    "SOCKET",
    One(|socket| hello(socket).map_err(|error| error.raw_os_error().map_or(Errno::EPROTO, Errno::from_raw))),
)];

/// The kinds of message (Message Types).
const METHOD_CALL: u8 = 1;
const ERROR: u8 = 3;

/// Authenticates as root and says Hello to the bus; EACCES when that is refused.
fn hello(socket: &str) -> io::Result<()> {
    let mut bus = UnixStream::connect(socket)?;
    // The uid as text, in hex: "0".
    bus.write_all(b"\0AUTH EXTERNAL 30\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        let mut byte = [0];
        bus.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    if !answer.starts_with(b"OK ") {
        return Err(io::Error::other("not authenticated"));
    }
    bus.write_all(b"BEGIN\r\n")?;
    bus.write_all(&call("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")?)?;
    let mut start = [0; 16];
    bus.read_exact(&mut start)?;
    let [_, kind, ..] = start;
    if kind == ERROR { Err(Errno::EACCES.into()) } else { Ok(()) }
}

/// A method call without arguments, to the interface whose name is that of the bus.
fn call(path: &str, name: &str, member: &str) -> io::Result<Vec<u8>> {
    let length = |length: usize| u32::try_from(length).map(u32::to_le_bytes).map_err(io::Error::other);
    let mut fields: Vec<u8> = Vec::new();
    // Header fields: PATH, DESTINATION, INTERFACE, MEMBER.
    for (code, kind, text) in [(1, b'o', path), (6, b's', name), (2, b's', name), (3, b's', member)] {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend([code, 1, kind, 0]);
        fields.extend(length(text.len())?);
        fields.extend(text.as_bytes());
        fields.push(0);
    }
    // Little-endian, no flags, version 1; no body, serial 1.
    let mut message = vec![b'l', METHOD_CALL, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0];
    message.extend(length(fields.len())?);
    message.extend(&fields);
    message.resize(message.len().next_multiple_of(8), 0);
    Ok(message)
}
