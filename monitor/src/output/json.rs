//! One JSON object a line for each event. The keys are the kernel's own; docs/events.md has the schema.

mod identity;
mod unrecorded;

use std::borrow::Cow;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};

use super::escape::{acts, escape};
use crate::merge::{Event, SeenBy};
use crate::record::{Companions, Sender, Violation};

/// Keys without a field of their own stay keys only while they are this short.
const KEY_LIMIT: usize = 64;

pub(super) use self::unrecorded::write_unrecorded;

/// Appends `event` as one line.
pub(super) fn write_line(out: &mut Vec<u8>, event: &Event<'_>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Inert(CompactFormatter));
    Line(event).serialize(&mut serializer)?;
    out.push(b'\n');
    Ok(())
}

/// Everything but the strings as serde_json writes it; in strings, also escapes what JSON lets pass and a
/// terminal or a reader would act on.
struct Inert(CompactFormatter);

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('\x7f') {
            return self.0.write_string_fragment(out, fragment);
        }
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, character)| acts(*character)) {
            let (before, from) = rest.split_at(at);
            self.0.write_string_fragment(out, before)?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = from.get(character.len_utf8()..).unwrap_or_default();
        }
        self.0.write_string_fragment(out, rest)
    }
}

struct Line<'a>(&'a Event<'a>);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event { violation, seen_by, subject, peer: other_side } = self.0;
        // In full, so that a field that is added cannot be forgotten here.
        let Violation {
            verdict,
            class,
            origin,
            audit_id,
            time,
            operation,
            profile,
            namespace,
            name,
            target,
            peer,
            comm,
            pid,
            info,
            error,
            requested_mask,
            denied_mask,
            fsuid,
            ouid,
            capability,
            capname,
            family,
            sock_type,
            protocol,
            laddr,
            lport,
            faddr,
            fport,
            signal,
            fstype,
            srcname,
            flags,
            rlimit,
            value,
            others,
            truncated,
            task,
            sender,
            companions,
            node,
        } = violation;
        let mut map = Map { map: serializer.serialize_map(None)?, others: Vec::new() };
        map.entry("time", time.map(rfc3339))?;
        map.entry("verdict", Some(verdict.as_str()))?;
        map.entry("class", Some(class.as_str()))?;
        map.bytes("operation", Some(operation))?;
        map.bytes("profile", *profile)?;
        map.bytes("namespace", *namespace)?;
        map.bytes("name", *name)?;
        map.bytes("target", *target)?;
        map.bytes("peer", *peer)?;
        map.bytes("comm", *comm)?;
        map.entry("pid", *pid)?;
        map.bytes("requested_mask", *requested_mask)?;
        map.bytes("denied_mask", *denied_mask)?;
        map.bytes("info", *info)?;
        map.entry("error", *error)?;
        map.entry("fsuid", *fsuid)?;
        map.entry("ouid", *ouid)?;
        map.entry("capability", *capability)?;
        map.bytes("capname", *capname)?;
        map.bytes("family", *family)?;
        map.bytes("sock_type", *sock_type)?;
        map.entry("protocol", *protocol)?;
        map.bytes("laddr", *laddr)?;
        map.entry("lport", *lport)?;
        map.bytes("faddr", *faddr)?;
        map.entry("fport", *fport)?;
        map.bytes("signal", *signal)?;
        map.bytes("fstype", *fstype)?;
        map.bytes("srcname", *srcname)?;
        map.bytes("flags", *flags)?;
        map.bytes("rlimit", *rlimit)?;
        map.entry("value", *value)?;
        map.entry("tid", task.map(|task| task.tid))?;
        map.entry("cgroup_id", task.map(|task| task.cgroup_id))?;
        map.entry("start_boottime", task.map(|task| task.start_boottime).filter(|start| *start != 0))?;
        if let Some(Companions { exe, syscall, exit, cwd, proctitle }) = companions {
            map.bytes("exe", *exe)?;
            map.entry("syscall", *syscall)?;
            map.entry("exit", *exit)?;
            map.bytes("cwd", *cwd)?;
            map.bytes("proctitle", *proctitle)?;
        }
        identity::write(&mut map, subject, *other_side)?;
        map.bytes("node", *node)?;
        if let Some(Sender { program, pid, uid, subject }) = sender {
            map.bytes("sender", *program)?;
            map.entry("sender_pid", *pid)?;
            map.entry("sender_uid", *uid)?;
            map.bytes("sender_label", *subject)?;
        }
        map.entry("audit_id", audit_id.map(|id| id.to_string()))?;
        map.entry("origin", Some(origin.as_str()))?;
        map.entry("sources", (*seen_by != SeenBy::default()).then(|| sources(*seen_by)))?;
        map.entry("truncated", truncated.then_some(true))?;
        map.others(others)?;
        map.map.end()
    }
}

/// The keys above; sorted. Another key of a record cannot take their place.
const OWN_KEYS: [&str; 57] = [
    "audit_id",
    "capability",
    "capname",
    "cgroup_id",
    "class",
    "comm",
    "container",
    "cwd",
    "denied_mask",
    "error",
    "exe",
    "exit",
    "faddr",
    "family",
    "flags",
    "fport",
    "fstype",
    "fsuid",
    "identified_by",
    "info",
    "laddr",
    "lport",
    "name",
    "namespace",
    "node",
    "operation",
    "origin",
    "other_keys",
    "ouid",
    "own",
    "peer",
    "peer_container",
    "peer_pod",
    "pid",
    "pod",
    "proctitle",
    "profile",
    "protocol",
    "requested_mask",
    "rlimit",
    "sender",
    "sender_label",
    "sender_pid",
    "sender_uid",
    "signal",
    "sock_type",
    "sources",
    "srcname",
    "start_boottime",
    "syscall",
    "target",
    "tid",
    "time",
    "truncated",
    "unidentified",
    "value",
    "verdict",
];

/// An object in the making. Absent values are left out.
struct Map<'a, M> {
    map: M,
    others: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a, M: SerializeMap> Map<'a, M> {
    fn entry<T: Serialize>(&mut self, key: &str, value: Option<T>) -> Result<(), M::Error> {
        match value {
            Some(value) => self.map.serialize_entry(key, &value),
            None => Ok(()),
        }
    }

    /// Text as text. Bytes that are not UTF-8 as escaped text, and exactly, in hex, under `<key>_bytes`.
    fn bytes(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), M::Error> {
        let Some(value) = value else { return Ok(()) };
        let Err(_) = str::from_utf8(value).map(|text| self.map.serialize_entry(key, text)) else {
            return Ok(());
        };
        self.map.serialize_entry(key, &escape(value, usize::MAX))?;
        self.map.serialize_entry(&format!("{key}_bytes"), &hex(value))
    }

    /// Keys that have no field: as they are, if they are words and not taken; otherwise listed apart.
    fn others(&mut self, others: &[(&'a [u8], &'a [u8])]) -> Result<(), M::Error> {
        for (at, (key, value)) in others.iter().enumerate() {
            let first = others.iter().take(at).all(|(earlier, _)| earlier != key);
            match str::from_utf8(key) {
                Ok(word) if first && is_free(word) => self.bytes(word, Some(value))?,
                _ => self.others.push((key, value)),
            }
        }
        if self.others.is_empty() {
            return Ok(());
        }
        let pairs: Vec<[Cow<'_, str>; 2]> = self
            .others
            .iter()
            .map(|(key, value)| [escape(key, usize::MAX), escape(value, usize::MAX)])
            .collect();
        self.map.serialize_entry("other_keys", &pairs)
    }
}

/// Whether a record's own key can be a key of the object: a word, not taken, and no twin of another key.
fn is_free(key: &str) -> bool {
    key.len() <= KEY_LIMIT
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !key.ends_with("_bytes")
        && OWN_KEYS.binary_search(&key).is_err()
}

fn sources(SeenBy { ebpf, audit, log }: SeenBy) -> impl Serialize {
    let mut sources = Vec::with_capacity(2);
    sources.extend(ebpf.then_some("ebpf"));
    sources.extend(audit.then_some("audit"));
    sources.extend(log.then_some("log"));
    sources
}

fn rfc3339(nanoseconds: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
