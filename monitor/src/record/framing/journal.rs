//! The journal's entries: one JSON object a line (`journalctl -o json`), or `KEY=value` lines with an empty
//! one between entries (`-o export`), which the caller has put into one piece.
//!
//! Fields that begin with `_` are the journal's own word and a process cannot choose them
//! (systemd.journal-fields(7)).

mod export;

use std::borrow::Cow;
use std::fmt;

use bstr::ByteSlice as _;
use bumpalo::Bump;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

pub(crate) use self::export::length as export_length;
use super::super::parse::{ParseError, Reason, number};
use super::super::violation::AuditId;
use super::{Framed, Kind, Writer, message};

/// What matters of an entry.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(rename = "MESSAGE", borrow, default)]
    message: Text<'a>,
    #[serde(rename = "_TRANSPORT", borrow, default)]
    transport: Text<'a>,
    #[serde(rename = "SYSLOG_FACILITY", borrow, default)]
    facility: Text<'a>,
    #[serde(rename = "SYSLOG_IDENTIFIER", borrow, default)]
    identifier: Text<'a>,
    #[serde(rename = "_COMM", borrow, default)]
    comm: Text<'a>,
    #[serde(rename = "_PID", borrow, default)]
    pid: Text<'a>,
    #[serde(rename = "_UID", borrow, default)]
    uid: Text<'a>,
    #[serde(rename = "_HOSTNAME", borrow, default)]
    hostname: Text<'a>,
    #[serde(rename = "_AUDIT_TYPE", borrow, default)]
    audit_type: Text<'a>,
    #[serde(rename = "_AUDIT_ID", borrow, default)]
    audit_id: Text<'a>,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP", borrow, default)]
    source_time: Text<'a>,
    #[serde(rename = "__REALTIME_TIMESTAMP", borrow, default)]
    journal_time: Text<'a>,
}

/// Takes an entry written as JSON out of its framing.
pub(super) fn unframe<'a>(line: &'a [u8], arena: &'a Bump) -> Result<Framed<'a>, ParseError> {
    let entry: Entry<'a> = serde_json::from_slice(line).map_err(|_| match line.find(b"apparmor=") {
        Some(_) => ParseError::Malformed(Reason::NotJson),
        None => ParseError::NotAppArmor,
    })?;
    framed(entry, arena)
}

/// Takes an entry written in export format out of its framing.
pub(super) fn unframe_export<'a>(entry: &'a [u8], arena: &'a Bump) -> Result<Framed<'a>, ParseError> {
    framed(export::entry(entry), arena)
}

fn framed<'a>(entry: Entry<'a>, arena: &'a Bump) -> Result<Framed<'a>, ParseError> {
    let transport = entry.transport.bytes();
    let micros = number(entry.source_time.bytes()).or_else(|| number(entry.journal_time.bytes()));
    let text = entry.message.keep(arena);
    let audited = transport == b"audit";
    let mut framed = if audited { audit(text, &entry, micros)? } else { message(text)? };
    framed.time = micros.and_then(|micros| micros.checked_mul(1000));
    framed.node = framed.node.or(Some(entry.hostname.keep(arena)).filter(|node| !node.is_empty()));
    framed.writer = match transport {
        b"audit" => Writer::Kernel,
        b"kernel" if entry.facility.bytes() == b"0" || entry.facility.bytes().is_empty() => Writer::Kernel,
        b"kernel" => Writer::Forger,
        _ => {
            let name = if entry.comm.bytes().is_empty() { &entry.identifier } else { &entry.comm };
            let id = |text: &Text<'_>| number(text.bytes()).and_then(|id| u32::try_from(id).ok());
            Writer::Program { name: name.keep(arena), pid: id(&entry.pid), uid: id(&entry.uid) }
        }
    };
    Ok(framed)
}

/// An entry that the journal itself took from the audit socket: the type's name before the fields, the stamp
/// in fields of the journal.
fn audit<'a>(text: &'a [u8], entry: &Entry<'_>, micros: Option<u64>) -> Result<Framed<'a>, ParseError> {
    let kind = number(entry.audit_type.bytes()).and_then(|kind| u16::try_from(kind).ok());
    let kind = kind.map_or(Kind::Other, Kind::from_number);
    let stamp = micros.zip(number(entry.audit_id.bytes()));
    let body = text.find_byte(b' ').and_then(|space| text.get(space..)).ok_or(ParseError::NotAppArmor)?;
    Ok(Framed {
        kind,
        stamp: stamp.map(|(micros, serial)| AuditId { millis: micros / 1000, serial }),
        time: None,
        node: None,
        writer: Writer::Kernel,
        body,
    })
}

/// A field's value: text, or an array of bytes where it is not UTF-8. Of a field that comes several times the
/// first counts. Missing, and null where the journal thought it too long, are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, [u8]>);

impl<'a> Text<'a> {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value for as long as the arena lives.
    fn keep(&self, arena: &'a Bump) -> &'a [u8] {
        match self.0 {
            Cow::Borrowed(bytes) => bytes,
            Cow::Owned(ref bytes) => arena.alloc_slice_copy(bytes),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of bytes, or null")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text.as_bytes())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.as_bytes().to_vec())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(part) = array.next_element::<Part<'de>>()? {
            match part {
                Part::Byte(byte) => bytes.push(byte),
                Part::Value(first) => {
                    while array.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(first);
                }
            }
        }
        Ok(Text(Cow::Owned(bytes)))
    }
}

/// An element of an array: a byte of one value, or one of several values.
#[derive(Deserialize)]
#[serde(untagged)]
enum Part<'a> {
    Byte(u8),
    #[serde(borrow)]
    Value(Text<'a>),
}
