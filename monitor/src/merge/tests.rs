use std::time::{Duration, Instant};

use super::waiting::Waiting;
use super::{Merger, SeenBy, Sighting};
use crate::identity::resolver::Who;
use crate::identity::{Identity, Unknown};
use crate::record::{AuditId, Class, Origin, Sender, Verdict, Violation};

const BOTH: SeenBy = SeenBy { ebpf: true, audit: true };
const EBPF: SeenBy = SeenBy { ebpf: true, audit: false };

fn violation(serial: u64, name: &'static [u8]) -> Violation<'static> {
    let mut v = Violation::new(Verdict::Denied, Class::File, Origin::Ebpf, b"open");
    v.audit_id = Some(AuditId { millis: 1, serial });
    v.pid = Some(7);
    v.name = Some(name);
    v
}

fn audit(merger: &mut Merger, v: &Violation<'_>, now: Instant) -> Sighting {
    merger.audit(v, b"raw", now, who, |_| panic!("nothing to evict"))
}

fn who() -> Who {
    Who { subject: Identity::unknown(Unknown::ProcessGone), peer: None }
}

#[test]
fn either_order_is_one_event() {
    let now = Instant::now();
    let mut merger = Merger::new(true);
    assert_eq!(merger.ebpf(&violation(1, b"/a"), now), EBPF);
    assert_eq!(audit(&mut merger, &violation(1, b"/a"), now), Sighting::Merged);
    assert_eq!(audit(&mut merger, &violation(2, b"/a"), now), Sighting::Waits);
    assert_eq!(merger.ebpf(&violation(2, b"/a"), now), BOTH);
    assert_eq!(merger.drain(), None, "nothing is left waiting");
    assert_eq!(merger.deadline(), None);
}

#[test]
fn what_differs_is_another_event() {
    let now = Instant::now();
    let base = violation(1, b"/a");
    let mut other_verdict = base.clone();
    other_verdict.verdict = Verdict::Allowed;
    let mut other_pid = base.clone();
    other_pid.pid = Some(8);
    let mut other_operation = base.clone();
    other_operation.operation = b"mknod";
    let rows = [
        ("another stamp", violation(2, b"/a")),
        ("another name", violation(1, b"/b")),
        ("another verdict", other_verdict),
        ("another process", other_pid),
        ("another operation", other_operation),
    ];
    for (name, other) in rows {
        let mut merger = Merger::new(true);
        merger.ebpf(&base, now);
        assert_eq!(audit(&mut merger, &other, now), Sighting::Waits, "{name}");
    }
}

#[test]
fn records_of_one_system_call_are_told_apart_by_their_number() {
    let now = Instant::now();
    let mut merger = Merger::new(true);
    for _ in 0..3 {
        merger.ebpf(&violation(1, b"/a"), now);
    }
    for _ in 0..3 {
        assert_eq!(audit(&mut merger, &violation(1, b"/a"), now), Sighting::Merged);
    }
    assert_eq!(
        audit(&mut merger, &violation(1, b"/a"), now),
        Sighting::Waits,
        "the fourth is one that eBPF lost"
    );
}

#[test]
fn a_partner_that_does_not_come_is_not_waited_for_for_ever() {
    let start = Instant::now();
    let mut merger = Merger::new(true);
    audit(&mut merger, &violation(1, b"/a"), start);
    assert_eq!(merger.given_up(start), None);
    let later = merger.deadline().unwrap();
    let parked = merger.given_up(later).unwrap();
    assert_eq!((&parked.record[..], parked.who), (&b"raw"[..], who()), "as it was when it came");
    merger.ebpf(&violation(2, b"/a"), later);
    let much_later = merger.deadline().unwrap();
    assert_eq!(merger.given_up(much_later), None);
    assert_eq!(merger.missed_by_audit(), 1);
    assert_eq!(merger.deadline(), None);
}

#[test]
fn passes_at_once_what_has_no_partner() {
    let now = Instant::now();
    let mut stampless = violation(1, b"/a");
    stampless.audit_id = None;
    let mut merger = Merger::new(true);
    assert_eq!(merger.ebpf(&stampless, now), EBPF);
    assert_eq!(audit(&mut merger, &stampless, now), Sighting::Count(who()));
    let mut from_a_bus = violation(1, b"/a");
    from_a_bus.sender = Some(&Sender { program: None, pid: None, uid: None, subject: None });
    assert_eq!(audit(&mut merger, &from_a_bus, now), Sighting::Count(who()));
    let mut single = Merger::new(false);
    assert_eq!(audit(&mut single, &violation(1, b"/a"), now), Sighting::Count(who()));
    assert_eq!(single.ebpf(&violation(1, b"/a"), now), EBPF);
    assert_eq!((merger.deadline(), single.deadline()), (None, None));
}

#[test]
fn a_full_room_gives_up_its_oldest() {
    let now = Instant::now();
    let mut room = Waiting::new(2);
    assert_eq!(room.insert('a', 1, now), None);
    assert_eq!(room.insert('b', 2, now), None);
    assert_eq!(room.insert('a', 3, now), Some(1));
    assert_eq!(room.take(&'a'), Some(3));
    assert_eq!(room.take(&'a'), None);
    assert_eq!(room.expired(now), Some(2));
    assert_eq!(room.expired(now + Duration::from_secs(1)), None);
}

#[test]
fn after_an_overflow_nothing_is_counted_twice() {
    let now = Instant::now();
    let mut merger = Merger::new(true);
    for serial in 0..=65_536 {
        merger.ebpf(&violation(serial, b"/a"), now);
    }
    assert_eq!(audit(&mut merger, &violation(0, b"/a"), now), Sighting::Overflow, "forgotten");
    assert_eq!(audit(&mut merger, &violation(65_536, b"/a"), now), Sighting::Merged, "remembered");
    let later = now + Duration::from_secs(11);
    assert_eq!(audit(&mut merger, &violation(70_000, b"/a"), later), Sighting::Waits, "over");
}
