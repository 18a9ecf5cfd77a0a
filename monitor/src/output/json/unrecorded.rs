//! Denials without a record as a JSON object, told from an event by its verdict.

use std::io;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::CompactFormatter;

use super::{Inert, Map, identity, rfc3339};
use crate::identity::unrecorded::Unrecorded;
use crate::output::{SILENT, since_epoch};
use crate::record::words;

/// Appends `unrecorded` as one line.
pub(in crate::output) fn write_unrecorded(out: &mut Vec<u8>, unrecorded: &Unrecorded<'_>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Inert(CompactFormatter));
    Line(unrecorded).serialize(&mut serializer)?;
    out.push(b'\n');
    Ok(())
}

struct Line<'a>(&'a Unrecorded<'a>);

impl<'a> Serialize for Line<'a> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Unrecorded { denial, subject } = self.0;
        let some = |bytes: &'a [u8]| Some(bytes).filter(|bytes| !bytes.is_empty());
        let mut map = Map { map: serializer.serialize_map(None)?, others: Vec::new() };
        map.entry("time", Some(rfc3339(since_epoch(denial.read))))?;
        map.entry("verdict", Some(SILENT))?;
        map.entry("class", Some(denial.class.as_str()))?;
        map.entry("reason", Some(denial.reason.as_str()))?;
        map.entry("count", Some(denial.count))?;
        map.bytes("operation", some(&denial.operation))?;
        map.bytes("profile", Some(&denial.profile))?;
        map.bytes("namespace", some(&denial.namespace))?;
        map.bytes("name", some(&denial.example))?;
        map.entry("capability", denial.capability)?;
        map.bytes("capname", denial.capability.and_then(words::capability))?;
        map.entry("cgroup_id", Some(denial.cgroup_id))?;
        identity::write(&mut map, subject, None)?;
        map.map.end()
    }
}
