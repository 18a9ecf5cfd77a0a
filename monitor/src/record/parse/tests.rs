use bumpalo::Bump;

use super::super::{Senders, parse_message};
use super::*;

const STAMP: AuditId = AuditId { millis: 1_795_450_134_756, serial: 4 };

/// Parses `audit(1795450134.756:4): ` + `body`.
fn parse<'a>(body: &[u8], arena: &'a Bump) -> Result<&'a Violation<'a>, ParseError> {
    let payload = arena.alloc_slice_copy(&[b"audit(1795450134.756:4): ", body].concat());
    parse_payload(payload, arena)
}

fn parse_payload<'a>(payload: &'a [u8], arena: &'a Bump) -> Result<&'a Violation<'a>, ParseError> {
    parse_message(1400, payload, Origin::Netlink, &Senders::of_users(vec![0]), arena)
}

fn stamped<'a>(verdict: Verdict, class: Class, operation: &'a str) -> Violation<'a> {
    Violation {
        audit_id: Some(STAMP),
        time: Some(STAMP.millis * 1_000_000),
        ..Violation::new(verdict, class, Origin::Netlink, operation.as_bytes())
    }
}

#[test]
fn reads_the_records_of_each_class() {
    let rows: &[(&str, &str, Violation<'_>)] = &[
        (
            "file, new",
            r#"apparmor="DENIED" operation="open" class="file" profile="/usr/sbin/cupsd" name="/etc/shadow" pid=812 comm="cupsd" requested_mask="r" denied_mask="r" fsuid=0 ouid=0"#,
            Violation {
                profile: Some(b"/usr/sbin/cupsd"),
                name: Some(b"/etc/shadow"),
                pid: Some(812),
                comm: Some(b"cupsd"),
                requested_mask: Some(b"r"),
                denied_mask: Some(b"r"),
                fsuid: Some(0),
                ouid: Some(0),
                ..stamped(Verdict::Denied, Class::File, "open")
            },
        ),
        (
            "file, as before class=, owner and other halves of the mask",
            r#"apparmor="ALLOWED" operation="mknod" parent=1 profile="p" name="/x" pid=2 comm="c" requested_mask="::c" denied_mask="::c" fsuid=1000 ouid=-1"#,
            Violation {
                profile: Some(b"p"),
                name: Some(b"/x"),
                pid: Some(2),
                comm: Some(b"c"),
                requested_mask: Some(b"::c"),
                denied_mask: Some(b"::c"),
                fsuid: Some(1000),
                ouid: Some(u32::MAX),
                others: &[(b"parent", b"1")],
                ..stamped(Verdict::Allowed, Class::File, "mknod")
            },
        ),
        (
            "exec into a learning profile",
            r#"apparmor="ALLOWED" operation="exec" class="file" profile="comp" name="/bin/busybox" pid=152 comm="sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="comp//null-/bin/busybox""#,
            Violation {
                profile: Some(b"comp"),
                name: Some(b"/bin/busybox"),
                pid: Some(152),
                comm: Some(b"sh"),
                requested_mask: Some(b"x"),
                denied_mask: Some(b"x"),
                fsuid: Some(0),
                ouid: Some(0),
                target: Some(b"comp//null-/bin/busybox"),
                ..stamped(Verdict::Allowed, Class::Exec, "exec")
            },
        ),
        (
            "exec refused for a reason",
            r#"apparmor="DENIED" operation="exec" class="file" info="no new privs" error=-1 profile="p" name="/bin/sh" pid=1 comm="c" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="q""#,
            Violation {
                info: Some(b"no new privs"),
                error: Some(-1),
                profile: Some(b"p"),
                name: Some(b"/bin/sh"),
                pid: Some(1),
                comm: Some(b"c"),
                requested_mask: Some(b"x"),
                denied_mask: Some(b"x"),
                fsuid: Some(0),
                ouid: Some(0),
                target: Some(b"q"),
                ..stamped(Verdict::Denied, Class::Exec, "exec")
            },
        ),
        (
            "capability: two spaces before its name",
            r#"apparmor="DENIED" operation="capable" class="cap" profile="p" pid=153 comm="ops" capability=21  capname="sys_admin""#,
            Violation {
                profile: Some(b"p"),
                pid: Some(153),
                comm: Some(b"ops"),
                capability: Some(21),
                capname: Some(b"sys_admin"),
                ..stamped(Verdict::Denied, Class::Capability, "capable")
            },
        ),
        (
            "network, connected",
            r#"apparmor="DENIED" operation="sendmsg" class="net" profile="p" pid=1 comm="c" laddr=127.0.0.1 lport=41000 faddr=127.0.0.1 fport=7777 family="inet" sock_type="stream" protocol=6 requested_mask="send" denied_mask="send""#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                laddr: Some(b"127.0.0.1"),
                lport: Some(41000),
                faddr: Some(b"127.0.0.1"),
                fport: Some(7777),
                family: Some(b"inet"),
                sock_type: Some(b"stream"),
                protocol: Some(6),
                requested_mask: Some(b"send"),
                denied_mask: Some(b"send"),
                ..stamped(Verdict::Denied, Class::Network, "sendmsg")
            },
        ),
        (
            "network, destination of a connect, mask keys without _mask",
            r#"apparmor="DENIED" operation="connect" class="net" profile="p" pid=1 comm="c" daddr=::1 dest=8081 family="inet6" sock_type="dgram" protocol=0 requested="connect" denied="connect""#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                family: Some(b"inet6"),
                sock_type: Some(b"dgram"),
                protocol: Some(0),
                requested_mask: Some(b"connect"),
                denied_mask: Some(b"connect"),
                others: &[(b"daddr", b"::1"), (b"dest", b"8081")],
                ..stamped(Verdict::Denied, Class::Network, "connect")
            },
        ),
        (
            "unix, abstract address in hex inside the quotes",
            r#"apparmor="DENIED" operation="bind" class="net" profile="p" pid=1 comm="c" family="unix" sock_type="stream" protocol=0 requested="bind" denied="bind" addr="@616273206E616D65" peer_addr=none"#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                family: Some(b"unix"),
                sock_type: Some(b"stream"),
                protocol: Some(0),
                requested_mask: Some(b"bind"),
                denied_mask: Some(b"bind"),
                others: &[(b"addr", b"@616273206E616D65"), (b"peer_addr", b"none")],
                ..stamped(Verdict::Denied, Class::Unix, "bind")
            },
        ),
        (
            "signal received by the profile",
            r#"apparmor="DENIED" operation="signal" class="signal" profile="docker-default" pid=4242 comm="runc" requested_mask="receive" denied_mask="receive" signal=term peer="runc""#,
            Violation {
                profile: Some(b"docker-default"),
                pid: Some(4242),
                comm: Some(b"runc"),
                requested_mask: Some(b"receive"),
                denied_mask: Some(b"receive"),
                signal: Some(b"term"),
                peer: Some(b"runc"),
                ..stamped(Verdict::Denied, Class::Signal, "signal")
            },
        ),
        (
            "a signal without a name: no space before the key",
            r#"apparmor="DENIED" operation="signal" class="signal" profile="p" pid=1 comm="c" requested_mask="send" denied_mask="send"signal=unknown(65) peer="unconfined""#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                requested_mask: Some(b"send"),
                denied_mask: Some(b"send"),
                signal: Some(b"unknown(65)"),
                peer: Some(b"unconfined"),
                ..stamped(Verdict::Denied, Class::Signal, "signal")
            },
        ),
        (
            "ptrace, a stack as the peer",
            r#"apparmor="DENIED" operation="ptrace" class="ptrace" profile="p" pid=1 comm="ps" requested_mask="readby" denied_mask="readby" peer="a//&:ns://b""#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"ps"),
                requested_mask: Some(b"readby"),
                denied_mask: Some(b"readby"),
                peer: Some(b"a//&:ns://b"),
                ..stamped(Verdict::Denied, Class::Ptrace, "ptrace")
            },
        ),
        (
            "mount",
            r#"apparmor="DENIED" operation="mount" class="mount" info="failed mntpnt match" error=-13 profile="p" name="/tmp/mnt/" pid=1 comm="mount" fstype="tmpfs" srcname="none" flags="rw, nosuid, bind" options="size=1m""#,
            Violation {
                info: Some(b"failed mntpnt match"),
                error: Some(-13),
                profile: Some(b"p"),
                name: Some(b"/tmp/mnt/"),
                pid: Some(1),
                comm: Some(b"mount"),
                fstype: Some(b"tmpfs"),
                srcname: Some(b"none"),
                flags: Some(b"rw, nosuid, bind"),
                others: &[(b"options", b"size=1m")],
                ..stamped(Verdict::Denied, Class::Mount, "mount")
            },
        ),
        (
            "rlimit, a value beyond 32 bits",
            r#"apparmor="DENIED" operation="setrlimit" class="rlimits" profile="p" pid=1 comm="c" rlimit=nofile value=18446744073709551615"#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                rlimit: Some(b"nofile"),
                value: Some(u64::MAX),
                ..stamped(Verdict::Denied, Class::Rlimit, "setrlimit")
            },
        ),
        (
            "user namespace, with the program's path last and not escaped",
            "apparmor=\"DENIED\" operation=\"userns_create\" class=\"namespace\" profile=\"p\" pid=1 comm=\"c\" requested=\"userns_create\" denied=\"userns_create\" execpath=\"/tmp/ix/a\" apparmor=\"ALLOWED\" name=\"/forged\" x=\"\"",
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                requested_mask: Some(b"userns_create"),
                denied_mask: Some(b"userns_create"),
                others: &[(b"execpath", br#"/tmp/ix/a" apparmor="ALLOWED" name="/forged" x=""#)],
                ..stamped(Verdict::Denied, Class::Userns, "userns_create")
            },
        ),
        (
            "io_uring",
            r#"apparmor="DENIED" operation="uring_override" class="io_uring" profile="p" pid=1 comm="c" requested="override_creds" denied="override_creds" tcontext="q""#,
            Violation {
                profile: Some(b"p"),
                pid: Some(1),
                comm: Some(b"c"),
                requested_mask: Some(b"override_creds"),
                denied_mask: Some(b"override_creds"),
                peer: Some(b"q"),
                ..stamped(Verdict::Denied, Class::IoUring, "uring_override")
            },
        ),
        (
            "dbus, as the bus daemon words it",
            r#"apparmor="DENIED" operation="dbus_method_call"  bus="system" path="/org/freedesktop/DBus" interface="org.freedesktop.DBus" member="Hello" mask="send" name="org.freedesktop.DBus" pid=77 label="snap.x" peer_pid=1 peer_label="unconfined""#,
            Violation {
                name: Some(b"org.freedesktop.DBus"),
                pid: Some(77),
                profile: Some(b"snap.x"),
                peer: Some(b"unconfined"),
                others: &[
                    (b"bus", b"system"),
                    (b"path", b"/org/freedesktop/DBus"),
                    (b"interface", b"org.freedesktop.DBus"),
                    (b"member", b"Hello"),
                    (b"mask", b"send"),
                    (b"peer_pid", b"1"),
                ],
                ..stamped(Verdict::Denied, Class::Dbus, "dbus_method_call")
            },
        ),
        (
            "a profile in a namespace",
            r#"apparmor="DENIED" operation="open" class="file" namespace="root//ns" profile="p" name="/x" pid=1 comm="c" requested_mask="r" denied_mask="r" fsuid=0 ouid=0"#,
            Violation {
                namespace: Some(b"root//ns"),
                profile: Some(b"p"),
                name: Some(b"/x"),
                pid: Some(1),
                comm: Some(b"c"),
                requested_mask: Some(b"r"),
                denied_mask: Some(b"r"),
                fsuid: Some(0),
                ouid: Some(0),
                ..stamped(Verdict::Denied, Class::File, "open")
            },
        ),
        (
            "policy loaded",
            r#"apparmor="STATUS" operation="profile_load" profile="unconfined" name="p" pid=99 comm="apparmor_parser""#,
            Violation {
                profile: Some(b"unconfined"),
                name: Some(b"p"),
                pid: Some(99),
                comm: Some(b"apparmor_parser"),
                ..stamped(Verdict::Status, Class::Policy, "profile_load")
            },
        ),
        (
            "policy that does not unpack: failed, not refused",
            r#"apparmor="STATUS" operation="profile_replace" info="failed to unpack profile" error=-71 profile="unconfined" name="p" pid=99 comm="apparmor_parser" offset=12"#,
            Violation {
                info: Some(b"failed to unpack profile"),
                error: Some(-71),
                profile: Some(b"unconfined"),
                name: Some(b"p"),
                pid: Some(99),
                comm: Some(b"apparmor_parser"),
                others: &[(b"offset", b"12")],
                ..stamped(Verdict::Status, Class::Policy, "profile_replace")
            },
        ),
        (
            "policy refused: a denial in all but its word",
            r#"apparmor="STATUS" operation="profile_replace" info="not policy admin" error=-13 profile="p" pid=99 comm="apparmor_parser""#,
            Violation {
                info: Some(b"not policy admin"),
                error: Some(-13),
                profile: Some(b"p"),
                pid: Some(99),
                comm: Some(b"apparmor_parser"),
                ..stamped(Verdict::Denied, Class::Policy, "profile_replace")
            },
        ),
        (
            "an error about no policy change is not a refused one",
            r#"apparmor="STATUS" operation="create" error=-13"#,
            Violation { error: Some(-13), ..stamped(Verdict::Status, Class::Policy, "create") },
        ),
        (
            "a message without an operation",
            r#"apparmor="STATUS" info="AppArmor Filesystem Enabled" pid=1 comm="swapper/0""#,
            Violation {
                info: Some(b"AppArmor Filesystem Enabled"),
                pid: Some(1),
                comm: Some(b"swapper/0"),
                ..stamped(Verdict::Status, Class::Policy, "")
            },
        ),
    ];
    for (name, body, want) in rows {
        let arena = Bump::new();
        assert_eq!(parse(body.as_bytes(), &arena), Ok(want), "{name}");
    }
}

#[test]
fn reads_each_verdict() {
    for (word, want) in [
        ("DENIED", Verdict::Denied),
        ("ALLOWED", Verdict::Allowed),
        ("AUDIT", Verdict::Audit),
        ("KILLED", Verdict::Killed),
        ("HINT", Verdict::Hint),
        ("STATUS", Verdict::Status),
        ("ERROR", Verdict::Error),
    ] {
        let arena = Bump::new();
        let body = format!(r#"apparmor="{word}" operation="open""#);
        assert_eq!(parse(body.as_bytes(), &arena).map(|v| v.verdict), Ok(want), "{word}");
    }
}

/// What a row asks of the parsed violation.
type Ask = for<'v, 'a> fn(&'v Violation<'a>) -> Option<&'v [u8]>;

#[test]
fn decodes_a_value_only_where_the_kernel_encodes() {
    let rows: &[(&str, &str, Ask, Option<&str>)] = &[
        ("hex name", "name=2F746D702F782079", |v| v.name, Some("/tmp/x y")),
        ("hex profile", "profile=6D792070726F6620C3A9", |v| v.profile, Some("my prof é")),
        ("hex comm", "comm=6120622063", |v| v.comm, Some("a b c")),
        ("hex peer", "peer=6120", |v| v.peer, Some("a ")),
        ("a quoted value that looks like hex", r#"name="2F78""#, |v| v.name, Some("2F78")),
        ("a bare value that is not hex", "name=none", |v| v.name, Some("none")),
        ("hex of odd length", "name=2F7", |v| v.name, Some("2F7")),
        ("hex in a key that is never encoded", "signal=ABCD", |v| v.signal, Some("ABCD")),
        ("hex source of a mount", "srcname=2F61", |v| v.srcname, Some("/a")),
        ("a quote in a name", "name=2F6122", |v| v.name, Some("/a\"")),
        ("a newline and an escape in a name", "name=2F0A1B5B", |v| v.name, Some("/\n\x1b[")),
        ("a backslash stays", r#"name="/a\x20b""#, |v| v.name, Some(r"/a\x20b")),
        ("a quote mark, a comma, an equals sign", r#"name="/it's,a=b""#, |v| v.name, Some("/it's,a=b")),
        ("parentheses that do not match", r#"name="/a(b""#, |v| v.name, Some("/a(b")),
        ("(null) is no name", "name=(null) pid=1", |v| v.name, None),
        ("a file called (null)", r#"name="(null)""#, |v| v.name, Some("(null)")),
        ("an empty name", r#"name="""#, |v| v.name, Some("")),
        ("a key that comes twice: the first", r#"name="/a" name="/b""#, |v| v.name, Some("/a")),
        ("a disconnected path", r#"name="run/x""#, |v| v.name, Some("run/x")),
        (
            "auditd's interpretation, its separator lost",
            r#"OUID="otis" pid=1"#,
            |v| v.others.first().map(|o| o.0),
            None,
        ),
        ("? is no name", "name=? pid=1", |v| v.name, None),
        ("a hat", r#"profile="web//^home""#, |v| v.profile, Some("web//^home")),
    ];
    for (name, field, ask, want) in rows {
        let arena = Bump::new();
        let body = format!(r#"apparmor="DENIED" operation="open" {field}"#);
        let violation = parse(body.as_bytes(), &arena).unwrap();
        assert_eq!(ask(violation).map(String::from_utf8_lossy).as_deref(), *want, "{name}");
    }
}

#[test]
fn keeps_bytes_that_are_not_utf8() {
    let arena = Bump::new();
    let violation = parse(b"apparmor=\"DENIED\" operation=\"open\" name=\"/\xff\xfe\"", &arena).unwrap();
    assert_eq!(violation.name, Some(&b"/\xff\xfe"[..]));
}

#[test]
fn keeps_a_value_that_does_not_fit_its_key() {
    let rows: &[(&str, &str, &str)] = &[
        ("pid beyond 32 bits", "pid", "4294967296"),
        ("pid in letters", "pid", "abc"),
        ("an empty pid", "pid", ""),
        ("a port beyond 16 bits", "lport", "65536"),
        ("an error that is no number", "error", "-"),
        ("an error beyond 32 bits", "error", "-2147483649"),
        ("a value beyond 64 bits", "value", "18446744073709551616"),
        ("a uid of -2", "fsuid", "-2"),
    ];
    for &(name, key, value) in rows {
        let arena = Bump::new();
        let body = format!(r#"apparmor="DENIED" operation="open" {key}={value} end=1"#);
        let violation = parse(body.as_bytes(), &arena).unwrap();
        let want: &[(&[u8], &[u8])] = &[(key.as_bytes(), value.as_bytes()), (b"end", b"1")];
        assert_eq!(violation.others, want, "{name}");
    }
    let arena = Bump::new();
    let violation = parse(br#"apparmor="ERROR" error=-2147483648"#, &arena).unwrap();
    assert_eq!(violation.error, Some(i32::MIN));
}

#[test]
fn tells_records_of_another_kind_from_malformed_ones() {
    let malformed = ParseError::Malformed;
    let rows: &[(&str, &str, ParseError)] = &[
        (
            "SELinux",
            r#"audit(1.000:1): avc:  denied  { read } for  pid=1 comm="x" name="y" scontext=a tcontext=b tclass=file"#,
            ParseError::NotAppArmor,
        ),
        ("only a stamp", "audit(1.000:1): ", ParseError::NotAppArmor),
        ("header off", r#"audit(1.000:1): operation="open" profile="p""#, malformed(Reason::NoVerdict)),
        ("a verdict to come", r#"audit(1.000:1): apparmor="PROMPT""#, malformed(Reason::UnknownVerdict)),
        ("no stamp", r#"apparmor="DENIED" operation="open""#, malformed(Reason::NoStamp)),
        ("half a stamp", "audit(1.000", malformed(Reason::NoStamp)),
        ("a stamp without a serial", "audit(1.000:): ", malformed(Reason::NoStamp)),
        ("too many milliseconds", "audit(1.1000:1): ", malformed(Reason::NoStamp)),
        ("a stamp past all time", "audit(18446744073709551615.999:1): ", malformed(Reason::NoStamp)),
        ("nothing", "", malformed(Reason::NoStamp)),
    ];
    for (name, payload, want) in rows {
        let arena = Bump::new();
        assert_eq!(parse_payload(payload.as_bytes(), &arena), Err(*want), "{name}");
    }
}

#[test]
fn says_when_a_line_was_cut() {
    let rows = [
        ("whole", r#"apparmor="DENIED" operation="open" name="/a""#, false),
        ("with what a C string leaves", "apparmor=\"DENIED\" operation=\"open\" name=\"/a\"\n\0", false),
        ("in a value", r#"apparmor="DENIED" operation="open" name="/a"#, true),
        ("in a key", r#"apparmor="DENIED" operation="open" name="/a" requested_"#, true),
        ("in the verdict's neighbour", r#"apparmor="DENIED" oper"#, true),
    ];
    for (name, body, want) in rows {
        let arena = Bump::new();
        assert_eq!(parse(body.as_bytes(), &arena).map(|v| v.truncated), Ok(want), "{name}");
    }
}

#[test]
fn keeps_a_bounded_number_of_fields() {
    let mut body = String::from(r#"apparmor="DENIED" operation="open""#);
    for key in 0..10_000 {
        body.push_str(&format!(" k{key}=1"));
    }
    let arena = Bump::new();
    let violation = parse(body.as_bytes(), &arena).unwrap();
    assert_eq!(violation.others.len(), MAX_OTHERS);
    assert!(violation.truncated, "what was left out is told");
}

#[test]
fn reads_numbers() {
    let rows: &[(&str, Option<(u64, &str)>)] = &[
        ("0", Some((0, ""))),
        ("7:", Some((7, ":"))),
        ("12345678", Some((12_345_678, ""))),
        ("1795450134.756", Some((1_795_450_134, ".756"))),
        ("0000000000000000000000001", Some((1, ""))),
        ("18446744073709551615", Some((u64::MAX, ""))),
        ("18446744073709551616", None),
        ("9999999999999999999999", None),
        ("", None),
        ("x", None),
        ("-1", None),
    ];
    for (text, want) in rows {
        assert_eq!(
            split_number(text.as_bytes()),
            want.map(|(value, rest)| (value, rest.as_bytes())),
            "{text}"
        );
    }
    for byte in 0..=u8::MAX {
        for at in 0..8 {
            let mut text = *b"12345678";
            text[at] = byte;
            let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let want = std::str::from_utf8(&text[..length]).unwrap().parse().unwrap_or(0);
            assert_eq!(leading_digits(text), (length, want), "{byte:#x} at {at}");
        }
    }
}
