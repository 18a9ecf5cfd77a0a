//! What must hold for every input, whatever its framing.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how libFuzzer is told that something was found"
)]

use aa_monitor::identity::cgroup::{self, Place};
use aa_monitor::record::{
    Class, Log, OPERATIONS, OTHER_OPERATION, Origin, ParseError, Senders, Violation, decode_wire, format,
    operation_label, parse_line, parse_message, profile_base,
};
use bumpalo::Bump;

/// Puts `record` between `before` and `after`, and checks what is read from that.
pub fn framed(before: &[u8], record: &[u8], after: &[u8]) {
    let line = [before, record, after].concat();
    let arena = Bump::new();
    if let Ok(violation) = parse_line(&line, Origin::File, &Senders::by_program(), &arena) {
        check(violation);
    }
}

/// Checks what is read from a message of the audit socket.
pub fn message(kind: u16, payload: &[u8]) {
    let arena = Bump::new();
    let senders = Senders::of_users(vec![0]);
    if let Ok(violation) = parse_message(kind, payload, Origin::Netlink, &senders, &arena) {
        check(violation);
    }
}

/// Checks what is read from a record of the ring: all of it lies in the record or was made from its numbers.
pub fn wire(raw: &[u8]) {
    let arena = Bump::new();
    let Ok(violation) = decode_wire(raw, 0, &arena) else { return };
    let strings = [violation.profile, violation.namespace, violation.name, violation.info, violation.peer];
    let length: usize = strings.into_iter().flatten().map(<[u8]>::len).sum();
    assert!(length <= raw.len(), "{length} bytes of strings in a record of {}", raw.len());
}

/// Checks what is read from the path of a cgroup, and from `/proc/<pid>/cgroup`: ids that stand in it, and
/// that a label can hold.
pub fn cgroup(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    for place in [Some(cgroup::parse(bytes)), cgroup::parse_file(bytes)] {
        let Some(Place::Container(ids)) = place else { continue };
        for id in [Some(&ids.container), ids.node.as_ref()].into_iter().flatten() {
            assert_eq!(id.len(), 64);
            assert!(text.contains(&**id), "{id} is made up");
        }
        if let Some(pod) = &ids.pod {
            assert!(text.contains(&**pod) || text.contains(&pod.replace('-', "_")), "{pod} is made up");
        }
    }
}

/// Reads `log` in pieces of `size` and all at once: the same must come of it.
pub fn log(log: &[u8], size: usize) {
    let run = |size: usize| {
        let mut counts = [0_usize; 4];
        let mut each = |_: &[u8], result: Result<&Violation<'_>, ParseError>| {
            let kind = match result {
                Ok(violation) => {
                    check(violation);
                    0
                }
                Err(ParseError::NotAppArmor) => 1,
                Err(ParseError::Untrusted) => 2,
                Err(ParseError::Malformed(_)) => 3,
            };
            counts[kind] += 1;
        };
        let mut reader = Log::new(Origin::File, Senders::by_program());
        for piece in log.chunks(size) {
            reader.feed(piece, &mut each);
        }
        reader.finish(&mut each);
        counts
    };
    assert_eq!(run(size), run(usize::MAX), "in pieces of {size}");
}

/// Reads `text` as a profile.
pub fn profile(text: &[u8]) {
    aa_monitor::suggest::read_profile(&String::from_utf8_lossy(text));
}

/// What is suggested for the records of a log holds only text that does nothing in a terminal, and reads as a
/// profile.
pub fn suggestion(log: &[u8]) {
    use aa_monitor::merge::{Event, SeenBy};
    use aa_monitor::output::history::evidence::of_event;
    use aa_monitor::suggest::{Collection, Format, Only, Request, suggest};

    let mut collection = Collection::new(Only::default());
    let mut reader = Log::new(Origin::File, Senders::by_program());
    let mut each = |_: &[u8], result: Result<&Violation<'_>, ParseError>| {
        if let Ok(violation) = result
            && let Some(evidence) = of_event(&Event::unresolved(violation, SeenBy::default()))
        {
            collection.add(evidence);
        }
    };
    reader.feed(log, &mut each);
    reader.finish(&mut each);
    let request = Request { format: Format::Profile, ..Request::default() };
    // Nothing is read from a file that could be missing.
    let answer = suggest(&request, collection.finish().0);
    let answer = answer.unwrap_or_else(|error| panic!("no suggestion: {error:?}"));
    assert!(answer.text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", answer.text);
    aa_monitor::suggest::read_profile(&answer.text);
}

fn check(violation: &Violation<'_>) {
    let label = operation_label(violation.operation);
    assert!(label == OTHER_OPERATION || OPERATIONS.contains(&label));
    let base = profile_base(violation.profile.unwrap_or_default());
    assert!(!base.windows(7).any(|window| window == b"//null-"), "a learning profile in a label");
    if violation.sender.is_some() {
        assert_eq!(violation.class, Class::Dbus, "a process is believed about its own business only");
        return;
    }
    let written = format(violation);
    if matches!(written.last(), Some(b'\0' | b'\r')) {
        return;
    }
    // The kernel writes this key last and its value as it is. A value with the key in it, which no kernel writes
    // in quotes, cannot be told from that.
    let marks = written.windows(10).filter(|window| *window == b"execpath=\"").count();
    if marks != violation.others.iter().filter(|(key, _)| *key == b"execpath").count() {
        return;
    }
    let arena = Bump::new();
    let read = parse_message(1400, &written, violation.origin, &Senders::of_users(vec![0]), &arena);
    let read = read.unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
    let same = (read.verdict, read.class, read.operation, read.profile, read.name, read.pid)
        == (
            violation.verdict,
            violation.class,
            violation.operation,
            violation.profile,
            violation.name,
            violation.pid,
        )
        && (read.comm, read.target, read.peer, read.info, read.error)
            == (violation.comm, violation.target, violation.peer, violation.info, violation.error)
        && read.others.len() == violation.others.len();
    assert!(same, "{}", written.escape_ascii());
}
