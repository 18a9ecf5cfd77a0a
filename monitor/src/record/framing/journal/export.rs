//! The journal's export format: fields as `KEY=value` lines, or, where the value holds a newline or is not
//! text, the key, a newline, the length as 8 bytes (little-endian), the value, a newline. An empty line ends
//! the entry. <https://systemd.io/JOURNAL_EXPORT_FORMATS/>

use std::borrow::Cow;

use super::{Entry, Text};

/// How many bytes the entry at the front of `stream` takes, its empty line included. None when it is not all
/// there.
pub(crate) fn length(stream: &[u8]) -> Option<usize> {
    let mut rest = stream;
    loop {
        if let Some(after) = rest.strip_prefix(b"\n") {
            return Some(stream.len() - after.len());
        }
        (_, _, rest) = field(rest)?;
    }
}

/// Reads an entry.
pub(super) fn entry(mut rest: &[u8]) -> Entry<'_> {
    let mut entry = Entry::default();
    while let Some((key, value, after)) = field(rest) {
        rest = after;
        let slot = match key {
            b"MESSAGE" => &mut entry.message,
            b"_TRANSPORT" => &mut entry.transport,
            b"SYSLOG_FACILITY" => &mut entry.facility,
            b"SYSLOG_IDENTIFIER" => &mut entry.identifier,
            b"_COMM" => &mut entry.comm,
            b"_PID" => &mut entry.pid,
            b"_UID" => &mut entry.uid,
            b"_HOSTNAME" => &mut entry.hostname,
            b"_AUDIT_TYPE" => &mut entry.audit_type,
            b"_AUDIT_ID" => &mut entry.audit_id,
            b"_SOURCE_REALTIME_TIMESTAMP" => &mut entry.source_time,
            b"__REALTIME_TIMESTAMP" => &mut entry.journal_time,
            _ => continue,
        };
        if slot.0.is_empty() {
            *slot = Text(Cow::Borrowed(value));
        }
    }
    entry
}

/// The field at the front: its key, its value, and what follows.
fn field(stream: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let end = memchr::memchr(b'\n', stream)?;
    let (line, rest) = stream.split_at_checked(end)?;
    let rest = rest.get(1..)?;
    if let Some(equals) = memchr::memchr(b'=', line) {
        let (key, value) = line.split_at_checked(equals)?;
        return Some((key, value.get(1..)?, rest));
    }
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((line, value, rest.strip_prefix(b"\n")?))
}
