//! What speaks for a rule: one kind of violation, how often, when and where it was seen.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::string::FromUtf8Error;

use bumpalo::Bump;
use serde::{Deserialize, Serialize};

use crate::identity::Pod;
use crate::merge::Event;
use crate::record::{self, Class, Origin, Senders, Verdict, Violation};

/// How many pods, images and so on are remembered of one kind of violation. A rule's comment shows fewer.
pub(crate) const NAMES: usize = 16;

/// A record is at most this long in the kernel's words: two paths of 4096 bytes, both in hex, and the rest.
pub(crate) const RECORD_LIMIT: usize = 20_000;

/// As long as a label value may be.
const PROFILE_LIMIT: usize = 256;

/// The type of a kernel's AppArmor record (linux/audit.h: `AUDIT_AVC`).
const AVC: u16 = 1400;

/// One kind of violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The record in the kernel's words, without what differs from one time to the next.
    pub record: String,
    /// Where and when.
    pub seen: Seen,
}

/// Where and when a kind of violation was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// First, in nanoseconds since the epoch; 0 when no record told.
    pub first: u64,
    /// Last, in nanoseconds since the epoch.
    pub last: u64,
    /// Whether the file belonged to the process's user, and not to root, each time.
    pub owner: bool,
    /// `namespace/pod`.
    pub pods: BTreeSet<String>,
    /// `namespace/Kind/name`.
    pub workloads: BTreeSet<String>,
    /// Container images.
    pub images: BTreeSet<String>,
    /// What the program called itself.
    pub comms: BTreeSet<String>,
}

impl Seen {
    /// This and `other` together.
    pub fn add(&mut self, other: &Self) {
        self.owner = (self.owner || self.count == 0) && other.owner;
        self.count = self.count.saturating_add(other.count);
        self.first = match (self.first, other.first) {
            (0, first) | (first, 0) => first,
            (a, b) => a.min(b),
        };
        self.last = self.last.max(other.last);
        for (own, other) in [
            (&mut self.pods, &other.pods),
            (&mut self.workloads, &other.workloads),
            (&mut self.images, &other.images),
            (&mut self.comms, &other.comms),
        ] {
            let room = NAMES.saturating_sub(own.len());
            let new: Vec<_> = other.difference(own).take(room).cloned().collect();
            own.extend(new);
        }
    }

    /// This and one more event together.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        let v = event.violation;
        let time = v.time.unwrap_or(0);
        let owner = v.fsuid.is_some_and(|fsuid| fsuid != 0) && v.fsuid == v.ouid;
        self.add(&Self { count: 1, first: time, last: time, owner, ..Self::default() });
        if let Some(comm) = v.comm {
            note(&mut self.comms, || String::from_utf8_lossy(comm));
        }
        let Some(container) = &event.subject.container else { return };
        if !container.image.is_empty() {
            note(&mut self.images, || Cow::Borrowed(&container.image));
        }
        if let Some(pod) = container.pod.as_deref().filter(|pod| !pod.name.is_empty()) {
            let Pod { uid: _, namespace, name, workload_kind, workload } = pod;
            note(&mut self.pods, || Cow::Owned(format!("{namespace}/{name}")));
            note(&mut self.workloads, || Cow::Owned(format!("{namespace}/{workload_kind}/{workload}")));
        }
    }
}

/// Adds a name where there is room; where there is none, it is not even put together.
fn note<'a>(names: &mut BTreeSet<String>, name: impl FnOnce() -> Cow<'a, str>) {
    if names.len() >= NAMES {
        return;
    }
    let name = name();
    if !names.contains(&*name) {
        names.insert(name.into_owned());
    }
}

/// The evidence in an event; None when it is no violation that a rule could be about.
pub fn of_event(event: &Event<'_>) -> Option<Evidence> {
    let record = canonical(event.violation)?;
    let mut seen = Seen::default();
    seen.note(event);
    Some(Evidence { record, seen })
}

/// The profile that a violation is booked under, as its label in the metrics.
pub(crate) fn profile_of(violation: &Violation<'_>) -> Option<Box<str>> {
    let base = record::profile_base(violation.profile?);
    Some(crate::output::escape::escape(&base, PROFILE_LIMIT).into())
}

/// The record without stamp, process, time and the addresses of a connection: what is left is what a rule
/// would be about, so that a million denials of one kind are one piece of evidence.
pub(super) fn canonical(violation: &Violation<'_>) -> Option<String> {
    if !matches!(violation.verdict, Verdict::Denied | Verdict::Allowed | Verdict::Killed)
        || matches!(violation.class, Class::Policy)
        || violation.profile.is_none_or(|profile| profile.is_empty() || profile == b"unconfined")
    {
        return None;
    }
    let socket = matches!(violation.class, Class::Network | Class::Unix);
    let arena = Bump::new();
    let kept = violation.others.iter().copied().filter(|(key, value)| match violation.class {
        Class::Unix => matches!(*key, b"addr" | b"peer_addr"),
        Class::Dbus => {
            matches!(*key, b"mask" | b"bus" | b"path" | b"interface" | b"member" | b"peer_name" | b"peer_label")
                // A connection's own number, new each time.
                && !(*key == b"peer_name" && value.starts_with(b":"))
        }
        _ => false,
    });
    let others = bumpalo::collections::Vec::from_iter_in(kept, &arena);
    let same = Violation {
        audit_id: None,
        time: None,
        pid: None,
        comm: None,
        fsuid: None,
        ouid: None,
        requested_mask: None,
        denied_mask: violation.denied_mask.or(violation.requested_mask),
        laddr: None,
        lport: None,
        faddr: None,
        fport: None,
        protocol: None,
        value: violation.value.filter(|_| !socket),
        others: &others,
        ..violation.clone()
    };
    let record = record::format(&same);
    if record.len() > RECORD_LIMIT {
        return None;
    }
    let lossy = |error: FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
    Some(String::from_utf8(record).unwrap_or_else(lossy))
}

impl Evidence {
    /// Reads the record.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Violation<'_>) -> T) -> Option<T> {
        let arena = Bump::new();
        let senders = Senders::of_users(Vec::new());
        record::parse_message(AVC, self.record.as_bytes(), Origin::File, &senders, &arena).ok().map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::SeenBy;

    fn evidence(record: &str) -> Option<Evidence> {
        let arena = Bump::new();
        let line = format!("audit: type=1400 {record}");
        let violation =
            record::parse_line(line.as_bytes(), Origin::File, &Senders::by_program(), &arena).unwrap();
        of_event(&Event::unresolved(violation, SeenBy::default()))
    }

    #[test]
    fn what_differs_from_time_to_time_is_no_other_kind() {
        let one = evidence(
            "audit(1.000:1): apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=2F6120 pid=1 \
             comm=\"a\" requested_mask=\"wr\" denied_mask=\"w\" fsuid=0 ouid=0",
        );
        let two = evidence(
            "audit(9.000:7): apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=2F6120 pid=2 \
             comm=\"b\" requested_mask=\"w\" denied_mask=\"w\" fsuid=5 ouid=5",
        );
        let (mut one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.record, two.record);
        assert!(!one.seen.owner && two.seen.owner);
        one.seen.add(&two.seen);
        assert_eq!((one.seen.count, one.seen.first, one.seen.last), (2, 1_000_000_000, 9_000_000_000));
        assert!(!one.seen.owner, "it was not always the owner");
        assert_eq!(one.seen.comms.len(), 2);
        let name = one.with(|violation| violation.name.map(<[u8]>::to_vec));
        assert_eq!(name, Some(Some(b"/a ".to_vec())));
    }

    #[test]
    fn only_violations_are_evidence() {
        for record in [
            r#"audit(1.000:1): apparmor="AUDIT" operation="open" profile="p" name="/a" requested_mask="r""#,
            r#"audit(1.000:1): apparmor="STATUS" operation="profile_load" profile="unconfined" name="p""#,
            r#"audit(1.000:1): apparmor="DENIED" operation="open" name="/a" denied_mask="r""#,
        ] {
            assert_eq!(evidence(record), None, "{record}");
        }
    }

    #[test]
    fn names_are_remembered_up_to_a_limit() {
        let mut all = Seen::default();
        for number in 0..100 {
            all.add(&Seen { count: 1, comms: BTreeSet::from([format!("{number}")]), ..Seen::default() });
        }
        assert_eq!((all.count, all.comms.len()), (100, NAMES));
    }
}
