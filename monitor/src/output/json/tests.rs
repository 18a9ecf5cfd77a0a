use super::*;
use std::sync::Arc;

use crate::capture::Source;
use crate::identity::{Container, How, Identity, Pod, Unknown};
use crate::record::{AuditId, Class, Origin, Task, Verdict};

fn line(violation: &Violation<'_>) -> String {
    let mut out = Vec::new();
    write_line(&mut out, &Event::unresolved(violation, SeenBy::only(Source::Audit))).unwrap();
    String::from_utf8(out).unwrap()
}

fn object(violation: &Violation<'_>) -> serde_json::Value {
    serde_json::from_str(&line(violation)).unwrap()
}

fn denial<'a>() -> Violation<'a> {
    Violation::new(Verdict::Denied, Class::File, Origin::Netlink, b"open")
}

#[test]
fn a_denial_is_one_line_with_the_keys_of_the_kernel() {
    let mut violation = denial();
    violation.time = Some(1_795_450_134_756_000_001);
    violation.audit_id = Some(AuditId { millis: 1_795_450_134_756, serial: 4 });
    violation.profile = Some(b"web");
    violation.name = Some(b"/etc/shadow");
    violation.pid = Some(7);
    violation.error = Some(-13);
    violation.task = Some(Task { cgroup_id: 45, tid: 8, start_boottime: 0 });
    violation.others = &[(b"execpath", b"/bin/sh")];
    assert_eq!(
        line(&violation),
        concat!(
            r#"{"time":"2026-11-23T16:08:54.756000001Z","verdict":"denied","class":"file","operation":"open","#,
            r#""profile":"web","name":"/etc/shadow","pid":7,"error":-13,"tid":8,"cgroup_id":45,"#,
            r#""audit_id":"1795450134.756:4","origin":"netlink","sources":["audit"],"execpath":"/bin/sh"}"#,
            "\n"
        )
    );
}

#[test]
fn nothing_in_a_name_can_break_the_line_or_reach_the_terminal() {
    for (name, bytes) in [
        ("quote and brace", &b"a\"}"[..]),
        ("new lines", b"a\r\nb"),
        ("terminal escape", b"\x1b[31m"),
        ("delete", b"a\x7fb"),
        ("C1 control", "a\u{9b}31m".as_bytes()),
        ("right-to-left override", "a\u{202e}b\u{e0001}".as_bytes()),
        ("letters of any script", "né 日本 😀".as_bytes()),
        ("64 KiB", &[b'a'; 65_536]),
    ] {
        let mut violation = denial();
        violation.name = Some(bytes);
        let line = line(&violation);
        let inside = line.strip_suffix('\n').unwrap();
        assert!(!inside.chars().any(acts), "{name}: {line}");
        assert_eq!(object(&violation)["name"].as_str().unwrap().as_bytes(), bytes, "{name}");
        assert_eq!(object(&violation).get("name_bytes"), None, "{name}");
    }
}

#[test]
fn bytes_that_are_no_text_can_be_had_back() {
    let mut violation = denial();
    violation.name = Some(b"/tmp/\xff\\x");
    let object = object(&violation);
    assert_eq!(object["name"], r"/tmp/\xff\\x");
    assert_eq!(object["name_bytes"], "2f746d702fff5c78");
}

#[test]
fn a_records_own_key_takes_nobodys_place() {
    let mut violation = denial();
    violation.others = &[
        (b"bus", b"system"),
        (b"verdict", b"allowed"),
        (b"bus", b"session"),
        (b"name_bytes", b"00"),
        (b"Bad Key\xff", b"v\xff"),
        (b"pod", b"forged"),
    ];
    let text = line(&violation);
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((object["bus"].as_str(), object["verdict"].as_str()), (Some("system"), Some("denied")));
    assert_eq!(
        object["other_keys"],
        serde_json::json!([
            ["verdict", "allowed"],
            ["bus", "session"],
            ["name_bytes", "00"],
            [r"Bad Key\xff", r"v\xff"],
            ["pod", "forged"]
        ])
    );
    assert_eq!(text.matches("\"bus\":").count(), 1, "{text}");
}

#[test]
fn the_keys_that_are_kept_are_sorted() {
    assert!(OWN_KEYS.is_sorted());
}

/// A violation that has something in every field; without `..`, so that a field that is added is noticed.
fn full<'a>() -> Violation<'a> {
    let some = Some(&b"x"[..]);
    Violation {
        verdict: Verdict::Denied,
        class: Class::File,
        origin: Origin::Netlink,
        operation: b"open",
        audit_id: Some(AuditId { millis: 1, serial: 0 }),
        time: Some(0),
        profile: some,
        namespace: some,
        name: some,
        target: some,
        peer: some,
        comm: some,
        pid: Some(0),
        info: some,
        error: Some(-13),
        requested_mask: some,
        denied_mask: some,
        fsuid: Some(0),
        ouid: Some(0),
        capability: Some(0),
        capname: some,
        family: some,
        sock_type: some,
        protocol: Some(0),
        laddr: some,
        lport: Some(0),
        faddr: some,
        fport: Some(0),
        signal: some,
        fstype: some,
        srcname: some,
        flags: some,
        rlimit: some,
        value: Some(u64::MAX),
        others: &[(b"", b"")],
        truncated: true,
        task: Some(Task { cgroup_id: 0, tid: 0, start_boottime: 1 }),
        sender: Some(&Sender { program: Some(b"x"), pid: Some(0), uid: Some(0), subject: Some(b"x") }),
        companions: Some(&Companions {
            exe: Some(b"x"),
            syscall: Some(0),
            exit: Some(-13),
            cwd: Some(b"x"),
            proctitle: Some(b"cat\0/etc/shadow"),
        }),
        node: some,
    }
}

/// A container that has everything.
fn container() -> Container {
    let pod = Pod {
        uid: "u".into(),
        namespace: "shop".into(),
        name: "web-7d4b9c-x".into(),
        workload_kind: "Deployment".into(),
        workload: "web".into(),
    };
    Container { id: "a".repeat(64).into(), name: "app".into(), image: "i:1".into(), pod: Some(Arc::new(pod)) }
}

fn identified(violation: &Violation<'_>, subject: &Identity, peer: Option<&Identity>) -> serde_json::Value {
    let mut out = Vec::new();
    let event = Event { violation, seen_by: SeenBy::only(Source::Ebpf), subject, peer };
    write_line(&mut out, &event).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// An event in which every key is written, also two that exclude each other.
fn fullest() -> serde_json::Value {
    let subject =
        Identity { container: Some(Arc::new(container())), how: How::Unknown(Unknown::PidReused), own: true };
    identified(&full(), &subject, Some(&subject))
}

#[test]
fn whose_it_was_is_told_as_far_as_it_is_known() {
    let of =
        |container: Option<Container>, how| Identity { container: container.map(Arc::new), how, own: false };
    let bare = Container { id: "b".into(), ..Container::default() };
    let uid_alone =
        Container { pod: Some(Arc::new(Pod { uid: "u".into(), ..Pod::default() })), ..bare.clone() };
    let whole = serde_json::json!({
        "container": { "id": "a".repeat(64), "name": "app", "image": "i:1" },
        "pod": { "uid": "u", "namespace": "shop", "name": "web-7d4b9c-x", "workload": "web", "workload_kind": "Deployment" },
        "identified_by": "cgroup",
    });
    for (name, identity, want) in [
        ("a pod", of(Some(container()), How::Cgroup), whole),
        (
            "a container",
            of(Some(bare), How::Proc),
            serde_json::json!({ "container": { "id": "b" }, "identified_by": "proc" }),
        ),
        (
            "a pod without a name",
            of(Some(uid_alone), How::Profile),
            serde_json::json!({ "container": { "id": "b" }, "pod": { "uid": "u" }, "identified_by": "profile" }),
        ),
        ("the host", of(None, How::Host), serde_json::json!({ "identified_by": "host" })),
        (
            "nobody",
            of(None, How::Unknown(Unknown::ProcessGone)),
            serde_json::json!({ "identified_by": "unknown", "unidentified": "process_gone" }),
        ),
        ("a log", of(None, How::Unknown(Unknown::NotLookedFor)), serde_json::json!({})),
    ] {
        let mut object = identified(&denial(), &identity, None);
        object
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !["verdict", "class", "operation", "origin", "sources"].contains(&key.as_str()));
        assert_eq!(object, want, "{name}");
    }
}

#[test]
fn every_key_that_is_written_is_kept() {
    for key in fullest().as_object().unwrap().keys() {
        assert!(OWN_KEYS.binary_search(&key.as_str()).is_ok(), "{key}");
    }
}

#[test]
fn lines_keep_to_the_published_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../../docs/event.schema.json")).unwrap();
    for key in fullest().as_object().unwrap().keys() {
        assert!(schema["properties"].get(key).is_some(), "{key} is in the schema");
    }
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(fullest().get(key).is_some(), "{key} is written");
    }
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource("event.json", schema).unwrap();
    let schema = compiler.compile("event.json", &mut schemas).unwrap();

    let bytes = Violation { name: Some(b"\xff"), others: &[(b"bus", b"\xff"), (b"bus", b"")], ..full() };
    let rows = [("least", object(&denial())), ("most", fullest()), ("bytes", object(&bytes))];
    for (name, object) in rows {
        if let Err(error) = schemas.validate(&object, schema) {
            panic!("{name}: {error}\n{object}");
        }
    }
    let mut broken = fullest();
    broken["verdict"] = "refused".into();
    assert!(schemas.validate(&broken, schema).is_err(), "the schema refuses what it does not know");
}
