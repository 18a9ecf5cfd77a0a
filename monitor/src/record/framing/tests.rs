use bumpalo::Bump;

use super::super::{Class, Origin, Senders, Violation, parse_line};
use super::*;

const BODY: &str = r#"apparmor="DENIED" operation="open" class="file" profile="p" name="/x" pid=7 comm="c" requested_mask="r" denied_mask="r" fsuid=0 ouid=0"#;
const STAMP: &str = "audit(1795450134.756:4)";

fn parse<'a>(line: &'a [u8], arena: &'a Bump) -> Result<&'a Violation<'a>, ParseError> {
    parse_line(line, Origin::File, &Senders::by_program(), arena)
}

/// The framed record comes out whole, with the stamp, and from the machine that the row says.
fn check_whole(name: &str, line: &[u8], node: Option<&str>) {
    let arena = Bump::new();
    let violation = parse(line, &arena).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(violation.audit_id, Some(AuditId { millis: 1_795_450_134_756, serial: 4 }), "{name}");
    assert_eq!(violation.time, Some(1_795_450_134_756_000_000), "{name}");
    assert_eq!(
        violation.node.map(|node| String::from_utf8_lossy(node).into_owned()).as_deref(),
        node,
        "{name}"
    );
    assert_eq!((violation.verdict, violation.class), (Verdict::Denied, Class::File), "{name}");
    assert_eq!((violation.name, violation.ouid), (Some(&b"/x"[..]), Some(0)), "{name}");
    assert_eq!((violation.sender, violation.truncated), (None, false), "{name}");
    assert!(violation.others.is_empty(), "{name}");
}

#[test]
fn takes_records_out_of_each_framing() {
    let rows: &[(&str, &str, &str, Option<&str>)] = &[
        ("netlink payload", "", "", None),
        ("auditd", "type=AVC msg=", "", None),
        ("auditd, a node", "node=web1 type=AVC msg=", "", Some("web1")),
        ("auditd, enriched", "type=AVC msg=", "\u{1d}FSUID=\"root\" OUID=\"root\"", None),
        ("auditd, by number", "type=1400 msg=", "", None),
        ("auditd, unknown to it", "type=UNKNOWN[1400] msg=", "", None),
        ("grep over files", "/var/log/audit/audit.log:type=AVC msg=", "", None),
        ("kmsg", "5,374,2492764,-;audit: type=1400 ", "", None),
        ("kmsg, with a caller", "5,374,2492764,-,caller=T77;audit: type=1400 ", "", None),
        ("dmesg", "[    2.492764] audit: type=1400 ", "", None),
        ("dmesg, with a caller", "[    2.492764][   T77] audit: type=1400 ", "", None),
        ("dmesg --notime", "audit: type=1400 ", "", None),
        ("dmesg --raw", "<5>[    2.492764] audit: type=1400 ", "", None),
        ("dmesg --ctime", "[Mon Jan  1 12:00:00 2026] audit: type=1400 ", "", None),
        ("dmesg --decode", "kern  :notice: [    2.492764] audit: type=1400 ", "", None),
        ("dmesg --time-format iso", "2026-01-01T12:00:00,492764+00:00 audit: type=1400 ", "", None),
        ("dmesg before 3.15", "[    2.492764] type=1400 ", "", None),
        ("syslog", "Jan  1 12:00:00 host kernel: [    2.492764] audit: type=1400 ", "", Some("host")),
        ("syslog, no kernel time", "Jan 12 12:00:00 host kernel: audit: type=1400 ", "", Some("host")),
        ("syslog before 3.15", "Jan  1 12:00:00 host kernel: [    2.492764] type=1400 ", "", Some("host")),
        (
            "syslog with fractions",
            "Jan  1 12:00:00.123456+08:00 host kernel: audit: type=1400 ",
            "",
            Some("host"),
        ),
        (
            "syslog, ISO 8601",
            "2026-01-01T12:00:00.123456+00:00 host kernel: [    2.4] audit: type=1400 ",
            "",
            Some("host"),
        ),
        ("syslog, date and time", "2026-01-01 12:00:00 host kernel: audit: type=1400 ", "", Some("host")),
        (
            "syslog on the wire, RFC 3164",
            "<5>Jan  1 12:00:00 host kernel: audit: type=1400 ",
            "",
            Some("host"),
        ),
        ("RFC 5424", "<5>1 2026-01-01T12:00:00.123Z host kernel - - - audit: type=1400 ", "", Some("host")),
        (
            "RFC 5424 with data",
            "<5>1 2026-01-01T12:00:00Z host kernel - - [x@1 a=\"b\"] \u{feff}[    2.4] audit: type=1400 ",
            "",
            Some("host"),
        ),
        ("journalctl, monotonic", "[    2.492764] host kernel: audit: type=1400 ", "", Some("host")),
        ("journalctl, unix", "1767268800.123456 host kernel: audit: type=1400 ", "", Some("host")),
        ("socklogd", "2026-01-01T12:00:00.12345 kern.notice: [    2.492764] audit: type=1400 ", "", None),
        (
            "the audit dispatcher's syslog",
            "Jan  1 12:00:00 host audispd: node=web1 type=AVC msg=",
            "",
            Some("web1"),
        ),
        ("the same on the wire", "<14>Jan  1 12:00:00 host audisp-syslog: type=AVC msg=", "", Some("host")),
    ];
    for &(name, before, after, node) in rows {
        for end in ["", "\n", "\r\n"] {
            check_whole(name, format!("{before}{STAMP}: {BODY}{after}{end}").as_bytes(), node);
        }
    }
}

#[test]
fn takes_records_out_of_the_journal() {
    let escaped = BODY.replace('"', "\\\"");
    let kernel = format!(
        r#""_TRANSPORT":"kernel","SYSLOG_FACILITY":"0","_HOSTNAME":"host","MESSAGE":"audit: type=1400 {STAMP}: {escaped}""#
    );
    let audit = format!(
        r#""_TRANSPORT":"audit","_AUDIT_TYPE":"1400","_AUDIT_ID":"4","_SOURCE_REALTIME_TIMESTAMP":"1795450134756000","_HOSTNAME":"host","MESSAGE":"AVC {escaped}""#
    );
    let bytes: Vec<u8> = format!("audit: type=1400 {STAMP}: {BODY}").into_bytes();
    let bytes = serde_json::to_string(&bytes).unwrap();
    check_whole("json, kernel", format!("{{{kernel}}}").as_bytes(), Some("host"));
    check_whole("json, audit", format!("{{{audit}}}").as_bytes(), Some("host"));
    check_whole("json, as bytes", format!(r#"{{"_TRANSPORT":"kernel","MESSAGE":{bytes}}}"#).as_bytes(), None);
    check_whole(
        "json, several messages",
        format!(
            r#"{{{},"X":null}}"#,
            kernel.replace(r#""MESSAGE":"#, r#""MESSAGE":[""#).replace("[\"\"", "[\"") + r#","second"]"#
        )
        .as_bytes(),
        Some("host"),
    );
    let export = format!(
        "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1\n_TRANSPORT=kernel\nSYSLOG_FACILITY=0\n_HOSTNAME=host\nMESSAGE=audit: type=1400 {STAMP}: {BODY}\n\n"
    );
    check_whole("export", export.as_bytes(), Some("host"));
    let message = format!("audit: type=1400 {STAMP}: {BODY}");
    let mut export = b"__CURSOR=s=1\n_TRANSPORT=kernel\nODD\n\x04\0\0\0\0\0\0\0a\n\nb\nMESSAGE\n".to_vec();
    export.extend_from_slice(&(message.len() as u64).to_le_bytes());
    export.extend_from_slice(message.as_bytes());
    export.extend_from_slice(b"\n\n");
    check_whole("export, binary", &export, None);
    assert_eq!(export_length(&[&export[..], b"__CURSOR=s=2\n"].concat()), Some(export.len()));
    assert_eq!(export_length(&export[..export.len() - 1]), None, "an entry that is not all there");
}

#[test]
fn takes_the_verdict_from_an_old_type() {
    let body = r#"operation="inode_permission" requested_mask="r::" denied_mask="r::" fsuid=0 name="/x" pid=7 profile="p""#;
    let rows = [
        ("type=APPARMOR_DENIED msg=", Verdict::Denied),
        ("type=APPARMOR_ALLOWED msg=", Verdict::Allowed),
        ("type=APPARMOR_AUDIT msg=", Verdict::Audit),
        ("type=APPARMOR_HINT msg=", Verdict::Hint),
        ("type=APPARMOR_STATUS msg=", Verdict::Status),
        ("type=APPARMOR_ERROR msg=", Verdict::Error),
        ("type=APPARMOR_KILL msg=", Verdict::Killed),
        ("type=1503 msg=", Verdict::Denied),
        ("type=UNKNOWN[1501] msg=", Verdict::Audit),
        ("Oct 29 08:00:01 host kernel: [82789.550826] type=1502 ", Verdict::Allowed),
    ];
    let behind = format!("Sep  7 17:47:53 host kernel: {STAMP}: type=1503 {body}");
    let lines = rows.map(|(before, want)| (format!("{before}{STAMP}: {body}"), want));
    for (line, want) in lines.into_iter().chain([(behind, Verdict::Denied)]) {
        let arena = Bump::new();
        let before = &line;
        let violation = parse(line.as_bytes(), &arena).unwrap();
        assert_eq!((violation.verdict, violation.class), (want, Class::File), "{before}");
        assert_eq!(violation.requested_mask, Some(&b"r::"[..]), "{before}");
    }
}

#[test]
fn tells_other_lines_from_malformed_records() {
    let rows: &[(&str, String, ParseError)] = &[
        ("nothing", String::new(), ParseError::NotAppArmor),
        ("words", "hello world".into(), ParseError::NotAppArmor),
        (
            "a kernel message",
            "Oct 29 09:20:01 host kernel: [87589.4] callbacks suppressed".into(),
            ParseError::NotAppArmor,
        ),
        (
            "brackets",
            "[    0.000000] ( 9 early reservations) ==> bootmem [0000000000 - 001ffae000]".into(),
            ParseError::NotAppArmor,
        ),
        (
            "a login",
            format!("type=USER_LOGIN msg={STAMP}: pid=1 uid=0 msg='op=login'"),
            ParseError::NotAppArmor,
        ),
        (
            "a system call",
            format!("type=SYSCALL msg={STAMP}: arch=c000003e syscall=257"),
            ParseError::NotAppArmor,
        ),
        (
            "SELinux",
            format!("type=AVC msg={STAMP}: avc:  denied  {{ read }} for  pid=1"),
            ParseError::NotAppArmor,
        ),
        (
            "SELinux from systemd",
            format!("type=USER_AVC msg={STAMP}: pid=1 uid=0 msg='avc:  denied'"),
            ParseError::NotAppArmor,
        ),
        (
            "a sentence",
            format!("type=APPARMOR msg={STAMP}: REJECTING r access to /bin/df (sh(7902) profile p active p)"),
            ParseError::Malformed(Reason::Sentence),
        ),
        (
            "a broken stamp",
            format!("type=AVC msg=audit(12===88.415:39): {BODY}"),
            ParseError::Malformed(Reason::NoStamp),
        ),
        (
            "a broken stamp of no concern",
            "type=LOGIN msg=audit(12===88.415:39): x=1".into(),
            ParseError::NotAppArmor,
        ),
        ("half an object", r#"{"MESSAGE":"audit: apparmor="#.into(), ParseError::Malformed(Reason::NotJson)),
        ("an object", r#"{"MESSAGE":"hello"}"#.into(), ParseError::NotAppArmor),
    ];
    for (name, line, want) in rows {
        let arena = Bump::new();
        assert_eq!(parse(line.as_bytes(), &arena), Err(*want), "{name}");
    }
}

#[test]
fn undoes_what_printk_escapes() {
    let arena = Bump::new();
    let line = format!(
        r#"5,374,2492764,-;audit: type=1400 {STAMP}: apparmor="DENIED" operation="open" name="/a\x5cb\x5cx41""#
    );
    assert_eq!(parse(line.as_bytes(), &arena).unwrap().name, Some(&br"/a\b\x41"[..]));
}

#[test]
fn does_not_believe_forgers() {
    let record = format!("audit: type=1400 {STAMP}: {BODY}");
    let rows = [
        ("a line written to /dev/kmsg", format!("12,374,2492764,-;{record}")),
        ("the same in dmesg --raw", format!("<13>[    2.4] {record}")),
        ("the same in dmesg --decode", format!("user  :notice: [    2.4] {record}")),
        ("a program that calls itself the kernel", format!("<13>Jan  1 12:00:00 host kernel: {record}")),
        ("the same by RFC 5424", format!("<13>1 2026-01-01T12:00:00Z host kernel - - - {record}")),
        ("a program's own log", format!("Jan  1 12:00:00 host web[812]: {record}")),
        (
            "a program that copies auditd's file",
            format!("Jan  1 12:00:00 host shipper: type=AVC msg={STAMP}: {BODY}"),
        ),
        (
            "a program's output in the journal",
            format!(
                r#"{{"_TRANSPORT":"stdout","_COMM":"web","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"{}"}}"#,
                record.replace('"', "\\\"")
            ),
        ),
        (
            "kmsg in the journal",
            format!(
                r#"{{"_TRANSPORT":"kernel","SYSLOG_FACILITY":"1","MESSAGE":"{}"}}"#,
                record.replace('"', "\\\"")
            ),
        ),
        ("a bus daemon about files", format!("Jan  1 12:00:00 host dbus-daemon[77]: {BODY}")),
        (
            "an audit message about files",
            format!(
                "type=USER_AVC msg={STAMP}: pid=1 uid=0 auid=0 ses=1 msg='{BODY} exe=\"/usr/bin/dbus-daemon\"'"
            ),
        ),
    ];
    for (name, line) in rows {
        let arena = Bump::new();
        assert_eq!(parse(line.as_bytes(), &arena), Err(ParseError::Untrusted), "{name}");
    }
}
