use bumpalo::Bump;

use super::*;

/// A row: what it is, the word, and what it must be.
type Row<'a> = (&'a str, Option<&'a [u8]>, Option<&'a str>);

fn check(rows: &[Row<'_>]) {
    for (name, word, want) in rows {
        assert_eq!(word.map(String::from_utf8_lossy).as_deref(), *want, "{name}");
    }
}

#[test]
fn says_masks_as_the_kernel_does() {
    let arena = Bump::new();
    check(&[
        ("read", file_mask(0x4, &arena), Some("r")),
        ("create for writing and reading", file_mask(0x10 | 0x2 | 0x4, &arena), Some("wrc")),
        ("execute", file_mask(0x1, &arena), Some("x")),
        ("delete", file_mask(0x20, &arena), Some("d")),
        ("map executable", file_mask(0x1_0000 | 0x4, &arena), Some("rm")),
        ("lock, link, append", file_mask(0x8000 | 0x4_0000 | 0x8, &arena), Some("akl")),
        ("chmod is a write", file_mask(0x1000, &arena), Some("w")),
        ("getattr is a read", file_mask(0x200, &arena), Some("r")),
        ("open alone has no letter", file_mask(0x40, &arena), None),
        ("change_profile", file_mask(0x4000_0000, &arena), None),
        ("create a socket", net_mask(0x10, &arena), Some("create")),
        ("send and receive", net_mask(0x6, &arena), Some("send receive")),
        ("connect and bind", net_mask(0x40 | 0x20_0000, &arena), Some("connect bind")),
        ("no socket bit", net_mask(0x8, &arena), None),
        ("send a signal", signal_mask(0x2), Some("send")),
        ("receive a signal", signal_mask(0x4), Some("receive")),
        ("no signal bit", signal_mask(0), None),
        ("trace", ptrace_mask(0x2), Some("trace")),
        ("read", ptrace_mask(0x4), Some("read")),
        ("traced by", ptrace_mask(0x8), Some("tracedby")),
        ("read by", ptrace_mask(0x10), Some("readby")),
        ("kernel polling thread", uring_mask(0x10), Some("sqpoll")),
        ("other credentials", uring_mask(0x8), Some("override_creds")),
        ("user namespace", userns_mask(0x8), Some("userns_create")),
    ]);
}

#[test]
fn names_numbers_as_the_kernel_does() {
    let arena = Bump::new();
    check(&[
        ("first capability", capability(0), Some("chown")),
        ("capability 21", capability(21), Some("sys_admin")),
        ("last capability", capability(40), Some("checkpoint_restore")),
        ("a capability to come", capability(41), None),
        ("limit 7", rlimit(7), Some("nofile")),
        ("last limit", rlimit(15), Some("rttime")),
        ("a limit to come", rlimit(16), None),
        ("signal 15", Some(signal(15, 15, &arena)), Some("term")),
        ("the signal whose name lost a letter", Some(signal(20, 20, &arena)), Some("stp")),
        ("kill with signal 0", Some(signal(35, 0, &arena)), Some("exists")),
        ("a real-time signal", Some(signal(131, 35, &arena)), Some("rtmin+3")),
        ("a signal without a number here", Some(signal(0, 65, &arena)), Some("unknown(65)")),
        ("a signal out of range", Some(signal(36, 36, &arena)), Some("unknown(36)")),
        ("family 2", Some(family(2, &arena)), Some("inet")),
        ("family 10", Some(family(10, &arena)), Some("inet6")),
        ("family 40", Some(family(40, &arena)), Some("vsock")),
        ("last family", Some(family(45, &arena)), Some("mctp")),
        ("the family without a name", Some(family(12, &arena)), Some("unknown(12)")),
        ("a family to come", Some(family(99, &arena)), Some("unknown(99)")),
        ("socket type 1", Some(sock_type(1, &arena)), Some("stream")),
        ("socket type 5", Some(sock_type(5, &arena)), Some("seqpacket")),
        ("socket type 10", Some(sock_type(10, &arena)), Some("packet")),
        ("socket type 0", Some(sock_type(0, &arena)), Some("unknown(0)")),
        ("class 14", class(14), Some("net")),
        ("a class to come", class(40), None),
    ]);
}

#[test]
fn says_mount_flags_as_the_kernel_does() {
    let arena = Bump::new();
    check(&[
        ("none", mount_flags(0, &arena), None),
        ("nosuid", mount_flags(0x2, &arena), Some("rw, nosuid")),
        ("read-only bind", mount_flags(0x1001, &arena), Some("ro, bind")),
        ("recursive bind", mount_flags(0x5000, &arena), Some("rw, rbind")),
        ("recursive private", mount_flags(0x4_4000, &arena), Some("rw, rprivate")),
        ("only recursive", mount_flags(0x4000, &arena), Some("rw")),
        ("remount read-only", mount_flags(0x21, &arena), Some("ro, remount")),
    ]);
}
