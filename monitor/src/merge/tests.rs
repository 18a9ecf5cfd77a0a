use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::waiting::Waiting;
use super::{Merger, SeenBy, Sighting, Streams};
use crate::capture::Source;
use crate::identity::resolver::Who;
use crate::identity::{Identity, Unknown};
use crate::record::{AuditId, Class, Origin, Sender, Verdict, Violation};

const BOTH: SeenBy = SeenBy { ebpf: true, audit: true, log: false };
const EBPF: SeenBy = SeenBy::only(Source::Ebpf);

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

/// Both streams are seen to be empty a minute later.
fn both_drained(merger: &mut Merger, now: Instant) -> Instant {
    let later = now + Duration::from_secs(60);
    for source in Source::ALL {
        merger.drained(source, later);
    }
    later
}

#[test]
fn either_order_is_one_event() {
    let now = Instant::now();
    let mut merger = Merger::new(Streams::Both);
    assert_eq!(merger.ebpf(&violation(1, b"/a"), now), EBPF);
    assert_eq!(audit(&mut merger, &violation(1, b"/a"), now), Sighting::Merged);
    assert_eq!(audit(&mut merger, &violation(2, b"/a"), now), Sighting::Waits);
    assert_eq!(merger.ebpf(&violation(2, b"/a"), now), BOTH);
    assert_eq!(Source::ALL.map(|source| merger.deadline(source)), [None, None], "nothing is left waiting");
}

#[test]
fn what_differs_is_another_event() {
    let now = Instant::now();
    let base = violation(1, b"/a");
    let change = |change: fn(&mut Violation<'static>)| {
        let mut other = base.clone();
        change(&mut other);
        other
    };
    let rows = [
        ("another stamp", violation(2, b"/a")),
        ("another name", violation(1, b"/b")),
        ("no name", change(|v| v.name = None)),
        ("another verdict", change(|v| v.verdict = Verdict::Allowed)),
        ("another process", change(|v| v.pid = Some(8))),
        ("another operation", change(|v| v.operation = b"mknod")),
        ("another profile of a stack", change(|v| v.profile = Some(b"other"))),
        ("the same profile in another namespace", change(|v| v.namespace = Some(b"root//ns"))),
        ("something else requested", change(|v| v.requested_mask = Some(b"w"))),
        ("something else denied", change(|v| v.denied_mask = Some(b"w"))),
    ];
    for (name, other) in rows {
        let mut merger = Merger::new(Streams::Both);
        merger.ebpf(&base, now);
        assert_eq!(audit(&mut merger, &other, now), Sighting::Waits, "{name}");
    }
}

#[test]
fn records_of_one_system_call_are_told_apart_by_their_number() {
    let now = Instant::now();
    let mut merger = Merger::new(Streams::Both);
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
fn a_partner_is_given_up_when_its_stream_was_empty_later() {
    let start = Instant::now();
    let mut merger = Merger::new(Streams::Both);
    audit(&mut merger, &violation(1, b"/a"), start);
    merger.ebpf(&violation(2, b"/a"), start);
    let [ebpf, from_audit] = Source::ALL.map(|source| merger.deadline(source).unwrap());
    merger.drained(Source::Ebpf, ebpf - Duration::from_nanos(1));
    merger.drained(Source::Audit, ebpf + Duration::from_secs(1));
    assert_eq!(merger.given_up(), None, "the ring was empty, but too early");
    merger.drained(Source::Ebpf, ebpf);
    assert_eq!(merger.given_up().map(|parked| parked.record), Some(b"raw"[..].into()));
    assert_eq!((merger.given_up(), merger.missed_by_audit()), (None, 0), "the other still waits");
    merger.drained(Source::Audit, from_audit);
    assert_eq!((merger.given_up(), merger.missed_by_audit()), (None, 1));
    assert_eq!(Source::ALL.map(|source| merger.deadline(source)), [None, None]);
}

#[test]
fn nobody_waits_for_a_stream_that_has_ended() {
    let now = Instant::now();
    let mut merger = Merger::new(Streams::Both);
    audit(&mut merger, &violation(1, b"/a"), now);
    merger.ended(Source::Ebpf);
    assert_eq!(merger.given_up().map(|parked| parked.record), Some(b"raw"[..].into()));
    merger.ended(Source::Audit);
    merger.ebpf(&violation(2, b"/a"), now);
    assert_eq!((merger.given_up(), merger.missed_by_audit()), (None, 0));
}

#[test]
fn passes_at_once_what_has_no_partner() {
    let now = Instant::now();
    let mut stampless = violation(1, b"/a");
    stampless.audit_id = None;
    let mut merger = Merger::new(Streams::Both);
    assert_eq!(merger.ebpf(&stampless, now), EBPF);
    assert_eq!(audit(&mut merger, &stampless, now), Sighting::Count(who()));
    let mut from_a_bus = violation(1, b"/a");
    from_a_bus.sender = Some(&Sender { program: None, pid: None, uid: None, subject: None });
    assert_eq!(audit(&mut merger, &from_a_bus, now), Sighting::Count(who()));
    let mut single = Merger::new(Streams::One);
    assert_eq!(audit(&mut single, &violation(1, b"/a"), now), Sighting::Count(who()));
    assert_eq!(single.ebpf(&violation(1, b"/a"), now), EBPF);
    for merger in [merger, single] {
        assert_eq!(Source::ALL.map(|source| merger.deadline(source)), [None, None]);
    }
}

#[test]
fn what_is_from_before_is_counted_from_the_ring_alone() {
    let now = Instant::now();
    let old = violation(1, b"/a");
    let mut merger = Merger::new(Streams::BothSince(2));
    assert_eq!(audit(&mut merger, &old, now), Sighting::Before, "the agent before has counted it");
    assert_eq!(merger.ebpf(&old, now), EBPF, "or it is in the ring");
    assert_eq!(audit(&mut merger, &old, now), Sighting::Before, "and its record comes late");
    assert_eq!(merger.deadline(Source::Audit), None, "the audit stream owes nothing");
    let mut new = old;
    new.audit_id = Some(AuditId { millis: 2, serial: 2 });
    assert_eq!(audit(&mut merger, &new, now), Sighting::Waits);
    assert_eq!(merger.ebpf(&new, now), BOTH);
}

#[test]
fn a_full_room_gives_up_its_oldest() {
    let now = Instant::now();
    let mut room = Waiting::new(2);
    assert_eq!(room.insert(7, 1, now), None);
    assert_eq!(room.insert(8, 2, now), None);
    assert_eq!(room.insert(7, 3, now), Some(1));
    assert_eq!(room.take(7), Some(3));
    assert_eq!(room.take(7), None);
    assert_eq!(room.pop_oldest(), Some(2));
    assert_eq!(room.pop_oldest(), None);
}

#[test]
fn a_room_is_bounded_though_its_oldest_item_stays() {
    let now = Instant::now();
    let mut room = Waiting::new(2);
    room.insert(0, 0, now);
    for key in 1..100 {
        let evicted = room.insert(key, key, now);
        assert!(evicted.is_none_or(|oldest| oldest == 0), "{evicted:?}");
        assert_eq!(room.take(key), Some(key));
    }
    assert_eq!(room.take(0), None, "given up in the end");
}

#[test]
fn after_an_overflow_nothing_is_counted_twice() {
    let now = Instant::now();
    let mut merger = Merger::with_room(Streams::Both, 100, 100);
    for serial in 0..=100 {
        merger.ebpf(&violation(serial, b"/a"), now);
    }
    assert_eq!(audit(&mut merger, &violation(0, b"/a"), now), Sighting::Overflow, "forgotten");
    assert_eq!(audit(&mut merger, &violation(100, b"/a"), now), Sighting::Merged, "remembered");
    let later = both_drained(&mut merger, now);
    assert_eq!(audit(&mut merger, &violation(200, b"/a"), later), Sighting::Waits, "over");
}

/// What happened, and what became of it on the way to each source.
#[derive(Clone, Debug)]
struct Happened {
    stamp: u64,
    name: u8,
    by_ebpf: bool,
    by_audit: bool,
    /// Where each sighting stands among all.
    order: (u16, u16),
}

fn happened() -> impl Strategy<Value = Happened> {
    // Few stamps and names, so that many violations are alike.
    (0_u64..6, 0_u8..3, prop::bool::weighted(0.8), prop::bool::weighted(0.8), any::<(u16, u16)>()).prop_map(
        |(stamp, name, by_ebpf, by_audit, order)| Happened { stamp, name, by_ebpf, by_audit, order },
    )
}

proptest! {
    /// Violations by the hundred, each lost by either source or not, told in any order: as many are counted as
    /// at least one source saw, and what either has missed is named. Violations that are alike cannot be told
    /// apart, so of such a group as many are counted as the source that saw more of them saw.
    #[test]
    fn any_order_and_any_loss_come_out_exactly(all in prop::collection::vec(happened(), 0..200)) {
        const NAMES: [&[u8]; 3] = [b"/a", b"/b", b"/c"];
        let now = Instant::now();
        let mut sightings = Vec::new();
        let mut groups = std::collections::BTreeMap::<_, (u64, u64)>::new();
        for one in &all {
            let (ebpf, audit) = groups.entry((one.stamp, one.name)).or_default();
            if one.by_ebpf {
                *ebpf += 1;
                sightings.push((one.order.0, Source::Ebpf, one));
            }
            if one.by_audit {
                *audit += 1;
                sightings.push((one.order.1, Source::Audit, one));
            }
        }
        sightings.sort_by_key(|(order, ..)| *order);
        let mut merger = Merger::new(Streams::Both);
        let mut counted = 0;
        for (_, source, one) in sightings {
            let v = violation(one.stamp, NAMES[usize::from(one.name)]);
            match source {
                Source::Ebpf => {
                    merger.ebpf(&v, now);
                    counted += 1;
                }
                Source::Audit => {
                    let sighting = audit(&mut merger, &v, now);
                    prop_assert!(matches!(sighting, Sighting::Merged | Sighting::Waits), "{sighting:?}");
                }
            }
        }
        both_drained(&mut merger, now);
        let by_audit_alone = std::iter::from_fn(|| merger.given_up()).count() as u64;
        counted += by_audit_alone;
        let sum = |of: fn(&(u64, u64)) -> u64| groups.values().map(of).sum::<u64>();
        prop_assert_eq!(counted, sum(|(ebpf, audit)| *ebpf.max(audit)));
        prop_assert_eq!(by_audit_alone, sum(|(ebpf, audit)| audit.saturating_sub(*ebpf)), "missed by eBPF");
        prop_assert_eq!(merger.missed_by_audit(), sum(|(ebpf, audit)| ebpf.saturating_sub(*audit)));
    }
}
