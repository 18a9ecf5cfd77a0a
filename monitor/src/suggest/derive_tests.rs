use bumpalo::Bump;

use super::*;
use crate::record::{Origin, Senders, Verdict, parse_line};

/// Each class and operation that the kernel, or a bus daemon, reports, and the rule for it.
const ROWS: &[(&str, bool, &str)] = &[
    (r#"operation="open" name="/etc/x" denied_mask="r" fsuid=0 ouid=0"#, false, "/etc/x r,"),
    (r#"operation="open" name="/etc/x" denied_mask="wc" fsuid=0 ouid=0"#, false, "/etc/x w,"),
    (r#"operation="open" name="/etc/x" denied_mask="a" fsuid=0 ouid=0"#, false, "/etc/x a,"),
    (r#"operation="open" name="/etc/x" denied_mask="wa" fsuid=0 ouid=0"#, false, "/etc/x w,"),
    (r#"operation="open" name="/etc/x" denied_mask="r" fsuid=5 ouid=5"#, true, "owner /etc/x r,"),
    (r#"operation="unlink" name="/x" denied_mask="d""#, false, "/x w,"),
    (r#"operation="file_lock" name="/x" denied_mask="wk""#, false, "/x wk,"),
    (r#"operation="file_mmap" name="/x" denied_mask="rm""#, false, "/x mr,"),
    (r#"operation="open" name=2F6120622A denied_mask="r""#, false, r#""/a b\*" r,"#),
    (r#"operation="open" name=2F1B5B denied_mask="r""#, false, r"/\x1b\[ r,"),
    (r#"operation="exec" name="/bin/x" denied_mask="x" target="p//null-/bin/x""#, false, "/bin/x ix,"),
    (r#"operation="link" name="/b" denied_mask="l" target="/a" fsuid=0 ouid=0"#, false, "link /b -> /a,"),
    (r#"operation="link" name="/b" denied_mask="l" fsuid=0 ouid=0"#, false, "/b l,"),
    (r#"operation="capable" capability=12  capname="net_admin""#, false, "capability net_admin,"),
    (
        r#"operation="create" class="net" family="inet" sock_type="stream" protocol=6 requested_mask="create" denied_mask="create""#,
        false,
        "network (create) inet stream,",
    ),
    (
        r#"operation="create" class="net" family="netlink" sock_type="raw" requested="create" denied="create""#,
        false,
        "network (create) netlink raw,",
    ),
    (
        r#"operation="connect" class="net" family="unix" sock_type="stream" requested="send receive connect" denied="send connect" addr=none peer_addr="@x" peer="db""#,
        false,
        "unix (connect send) type=stream peer=(label=db addr=@x),",
    ),
    (
        r#"operation="bind" class="net" family="unix" sock_type="stream" requested="bind" denied="bind" addr="/tmp/w-redis/s""#,
        false,
        "unix (bind) type=stream,",
    ),
    (
        r#"operation="connect" class="net" family="unix" sock_type="stream" requested="send receive connect" denied="send receive connect" addr=none peer_addr="/lab/postgres/.s.PGSQL.5432" peer="p""#,
        false,
        "unix (connect receive send) type=stream peer=(label=p),",
    ),
    (
        r#"operation="create" class="net" family="unix" sock_type="stream" requested="create" denied="create" addr=none"#,
        false,
        "unix (create) type=stream,",
    ),
    (
        r#"operation="signal" class="signal" requested_mask="receive" denied_mask="receive" signal=term peer="runc""#,
        false,
        "signal (receive) set=(term) peer=runc,",
    ),
    (
        r#"operation="signal" requested_mask="send" denied_mask="send" signal=rtmin+3 peer="a b""#,
        false,
        r#"signal (send) set=(rtmin+3) peer="a b","#,
    ),
    (
        r#"operation="signal" class="signal" requested_mask="send" denied_mask="send"signal=unknown(65) peer="x""#,
        false,
        "signal (send) peer=x,",
    ),
    (
        r#"operation="ptrace" requested_mask="readby" denied_mask="readby" peer="/usr/bin/ps""#,
        false,
        "ptrace (readby) peer=/usr/bin/ps,",
    ),
    (
        r#"operation="mount" info="failed mntpnt match" error=-13 name="/mnt/" fstype="ext2" srcname="/dev/sda" flags="rw, mand""#,
        false,
        "mount fstype=(ext2) options=(mand, rw) /dev/sda -> /mnt/,",
    ),
    (
        r#"operation="mount" name="/m/" srcname="/a/" flags="rw, bind""#,
        false,
        "mount options=(bind, rw) /a/ -> /m/,",
    ),
    (r#"operation="mount" name="/m/" flags="rw, private""#, false, "mount options=(private, rw) -> /m/,"),
    (r#"operation="mount" name="/m/" flags="rw, remount""#, false, "remount options=(rw) /m/,"),
    (r#"operation="umount" name="/m/""#, false, "umount /m/,"),
    (
        r#"operation="pivotroot" name="/new/" srcname="/new/old/""#,
        false,
        "pivot_root oldroot=/new/old/ /new/,",
    ),
    (r#"operation="setrlimit" rlimit=nofile value=2048"#, false, "set rlimit nofile <= 2048,"),
    (r#"operation="setrlimit" rlimit=nice value=30"#, false, "set rlimit nice <= -10,"),
    (
        r#"operation="setrlimit" rlimit=core value=18446744073709551615"#,
        false,
        "set rlimit core <= infinity,",
    ),
    (r#"operation="change_profile" name="t" target="t""#, false, "change_profile -> t,"),
    (r#"operation="change_onexec" name="t" target="t""#, false, "change_profile -> t,"),
    (r#"operation="change_hat" name="h" target="p//null-h""#, false, "hat h"),
    (
        r#"operation="userns_create" class="namespace" requested="userns_create" denied="userns_create""#,
        false,
        "userns create,",
    ),
    (
        r#"operation="uring_sqpoll" class="io_uring" requested="sqpoll" denied="sqpoll""#,
        false,
        "io_uring (sqpoll),",
    ),
    (
        r#"operation="uring_override" class="io_uring" requested="override_creds" denied="override_creds" peer="x""#,
        false,
        "io_uring (override_creds) label=x,",
    ),
    (
        r#"operation="mqueue_create" class="posix_mqueue" name="/q" requested="create read" denied="create read""#,
        false,
        "mqueue (create read) type=posix /q,",
    ),
    (
        r#"operation="file_mmap" info="Failed name lookup - disconnected path" error=-13 name="" comm="postgres" requested_mask="wr" denied_mask="wr" fsuid=70 ouid=70"#,
        true,
        "flag attach_disconnected and owner / rw,",
    ),
    (
        r#"operation="open" info="Failed name lookup - disconnected path" error=-13 name="run/x" denied_mask="r""#,
        false,
        "flag attach_disconnected and /run/x r,",
    ),
    (
        r#"operation="open" info="Failed name lookup - deleted entry" error=-2 name="/tmp/x" denied_mask="r""#,
        false,
        "flag mediate_deleted",
    ),
    (r#"operation="open" denied_mask="r""#, false, "nothing: the record names no file"),
];

#[test]
fn every_record_becomes_the_rule_that_allows_it() {
    for (record, owner, want) in ROWS {
        let line = format!(r#"audit: type=1400 audit(1.000:1): apparmor="DENIED" profile="p" {record}"#);
        let arena = Bump::new();
        let violation = parse_line(line.as_bytes(), Origin::File, &Senders::by_program(), &arena).unwrap();
        let got = match need(violation, *owner, "ix") {
            Need::Rule(rule) => rule.to_string(),
            Need::Flag(flag, Some(rule)) => format!("flag {flag} and {rule}"),
            Need::Flag(flag, None) => format!("flag {flag}"),
            Need::Hat(hat) => format!("hat {hat}"),
            Need::Nothing(why) => format!("nothing: {why}"),
        };
        assert_eq!(got, *want, "{record}");
    }
}

#[test]
fn a_message_on_a_bus_becomes_a_rule() {
    let rows = [
        (
            r#"operation="dbus_method_call"  bus="system" path="/a" interface="b.c" member="D" mask="send" name="x.y" pid=1 label="p" peer_pid=2 peer_label="q""#,
            r"dbus (send) bus=system path=/a interface=b.c member=D peer=(name=x.y label=q),",
        ),
        (
            r#"operation="dbus_bind"  bus="session" name="x.y" mask="bind" pid=1 label="p""#,
            "dbus (bind) bus=session name=x.y,",
        ),
    ];
    for (record, want) in rows {
        let line = format!(
            "type=USER_AVC msg=audit(1.000:1): pid=7 uid=101 auid=1 ses=1 subj=unconfined \
             msg='apparmor=\"DENIED\" {record} exe=\"/usr/bin/dbus-daemon\" sauid=101 hostname=? addr=? terminal=?'"
        );
        let arena = Bump::new();
        let senders = Senders::by_program();
        let violation = parse_line(line.as_bytes(), Origin::File, &senders, &arena).unwrap();
        let Need::Rule(rule) = need(violation, false, "ix") else { panic!("{record}") };
        assert_eq!(rule.to_string(), want);
    }
}

#[test]
fn what_is_no_word_of_the_kernels_gets_into_no_rule() {
    let rows: [(&str, &[u8]); 4] = [
        ("a control character (found by fuzzing)", b"n\x08\0lue"),
        ("the end of a line", b"nofile\n"),
        ("another rule", b"nofile<=1,/**rwx"),
        ("the end of the profile", b"nofile}"),
    ];
    for (name, value) in rows {
        let mut violation = Violation::new(Verdict::Allowed, Class::Rlimit, Origin::File, b"setrlimit");
        violation.rlimit = Some(value);
        violation.value = Some(1);
        assert!(matches!(need(&violation, false, "ix"), Need::Nothing(_)), "{name}");
    }
}
