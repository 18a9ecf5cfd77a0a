use bstr::ByteVec as _;
use bumpalo::Bump;

use super::*;
use crate::record::{Senders, parse_message};

/// What two kernels sent by both ways.
const RECORDED: [(&str, &str); 2] = [
    ("6.1", include_str!("../../../../tests/fixtures/wire/6.1.txt")),
    ("7.3", include_str!("../../../../tests/fixtures/wire/7.3.txt")),
];

/// Pairs of (text of the audit record, wire record).
fn pairs(fixture: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut lines = fixture.lines().filter(|line| !line.starts_with('#'));
    let mut pairs = Vec::new();
    while let (Some(audit), Some(ring)) = (lines.next(), lines.next()) {
        let unescape = |line: &str, kind| Vec::unescape_bytes(line.strip_prefix(kind).unwrap());
        pairs.push((unescape(audit, "audit "), unescape(ring, "ring ")));
    }
    pairs
}

/// The violation without what only one way can tell.
fn comparable<'a>(violation: &Violation<'a>, other: &Violation<'a>) -> Violation<'a> {
    Violation {
        origin: Origin::Ebpf,
        time: None,
        task: None,
        // The text has the error only beside a reason.
        error: violation.error.filter(|_| other.error.is_some()),
        ..violation.clone()
    }
}

#[test]
fn says_what_the_kernels_text_says() {
    for (kernel, fixture) in RECORDED {
        let pairs = pairs(fixture);
        assert!(pairs.len() > 40, "{kernel}: {} pairs", pairs.len());
        for (text, wire) in &pairs {
            let arena = Bump::new();
            let by_text = parse_message(1400, text, Origin::Netlink, &Senders::by_program(), &arena).unwrap();
            let by_wire = decode_wire(wire, 0, &arena).unwrap();
            assert_eq!(wire_stamp(wire), by_wire.audit_id, "{kernel}");
            let mut want = comparable(by_text, &by_wire);
            if by_wire.others.is_empty() && by_text.others == [(&b"addr"[..], &b"none"[..])] {
                want.others = &[];
            }
            assert_eq!(comparable(&by_wire, by_text), want, "{kernel}: {}", text.escape_ascii());
            assert!(by_wire.task.is_some_and(|task| task.tid != 0 && task.start_boottime != 0), "{kernel}");
        }
    }
}

#[test]
fn refuses_what_is_not_a_record_of_this_version() {
    let (_, wire) = pairs(RECORDED[0].1).swap_remove(0);
    let with = |at: usize, byte: u8| {
        let mut changed = wire.clone();
        changed[at] = byte;
        changed
    };
    let verdict_at = 4;
    for (name, bytes, want) in [
        ("another version", with(0, 9), WireError::Version { found: 9 }),
        ("another kind", with(2, 7), WireError::Kind(7)),
        ("another verdict", with(verdict_at, 42), WireError::Verdict(42)),
        ("no header", wire[..10].to_vec(), WireError::Truncated),
        ("cut in a string", wire[..wire.len() - 1].to_vec(), WireError::Truncated),
        ("empty", Vec::new(), WireError::Truncated),
    ] {
        let arena = Bump::new();
        assert_eq!(decode_wire(&bytes, 0, &arena), Err(want), "{name}");
    }
}

#[test]
fn time_is_the_kernels_clock_moved_to_the_wall() {
    let (_, wire) = pairs(RECORDED[0].1).swap_remove(0);
    let arena = Bump::new();
    let at = |offset| decode_wire(&wire, offset, &arena).unwrap().time.unwrap();
    assert_eq!(at(1_000) - at(0), 1_000);
}

#[test]
fn writes_unix_addresses_as_the_kernel_does() {
    for (name, raw, want) in [
        ("a path", &b"\x01\x00/run/x.sock\0"[..], Some(&b"/run/x.sock"[..])),
        ("an abstract name", b"\x01\x00\0name", Some(b"@name")),
        ("an abstract name with a NUL in it", b"\x01\x00\0a\0b", Some(b"@a\0b")),
        ("unnamed", b"\x01\x00", None),
        ("another family", b"\x02\x00\x1f\x90\x7f\0\0\x01", None),
        ("nothing", b"", None),
    ] {
        assert_eq!(unix_address(raw, &Bump::new()), want, "{name}");
    }
}

#[test]
fn writes_addresses_that_are_there() {
    let mut v4 = [0; 16];
    v4[..4].copy_from_slice(&[127, 0, 0, 1]);
    let mut v6 = [0; 16];
    v6[15] = 1;
    for (name, family, bytes, port, want) in [
        ("IPv4", AF_INET, v4, 80, Some(&b"127.0.0.1"[..])),
        ("IPv6", AF_INET6, v6, 80, Some(b"::1")),
        ("any address with a port", AF_INET, [0; 16], 80, Some(b"0.0.0.0")),
        ("no address, no port", AF_INET, [0; 16], 0, None),
        ("no family of addresses", AF_UNIX, v4, 80, None),
    ] {
        assert_eq!(address(family, &bytes, port, &Bump::new()), want, "{name}");
    }
}
