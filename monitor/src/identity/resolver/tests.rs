use std::fs;

use super::*;
use crate::record::{Origin, Verdict};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const SECOND: u64 = 1_000_000_000;

/// A resolver whose `/proc` has one process: 7, of container B, started 5 s after boot.
fn resolver(proc: &tempfile::TempDir) -> Resolver {
    let write = |path: &str, text: &str| {
        let path = proc.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("sys/kernel/pid_max", "4194304\n");
    write("loadavg", "0.00 0.01 0.05 1/103 4711\n");
    let zeros = "0 ".repeat(30);
    write("7/stat", &format!("7 (sh) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 {zeros}\n"));
    write("7/cgroup", &format!("0::/docker/{B}\n"));
    let (ledger, processes) = (Arc::new(Ledger::default()), Processes::at(proc.path()));
    let mut resolver = Resolver::with(ledger, None, processes, Attachments::default(), Limits::default());
    let path = format!("/docker/{A}");
    resolver.cgroup(CgroupChange { id: 40, path: path.as_bytes(), gone: false }, Instant::now());
    resolver
}

fn violation(class: Class, mask: &'static [u8], task: Option<Task>) -> Violation<'static> {
    Violation {
        pid: Some(7),
        time: Some(6 * SECOND),
        denied_mask: Some(mask),
        task,
        ..Violation::new(Verdict::Denied, class, Origin::Netlink, b"x")
    }
}

fn told(identity: &Identity) -> (Option<&str>, How) {
    (identity.container.as_deref().map(|container| &*container.id), identity.how)
}

#[test]
fn the_victim_is_the_subject_and_the_sender_the_peer() {
    let proc = tempfile::tempdir().unwrap();
    let mut resolver = resolver(&proc);
    let target = Some(Target { pid: 9, cgroup_id: 40, start_boottime: SECOND });
    let task = |target| Some(Task { cgroup_id: 1, tid: 7, start_boottime: 5 * SECOND, target });
    let host = (None, How::Host);
    let a = (Some(A), How::Cgroup);
    let unknown = (None, How::Unknown(Unknown::VictimUnknown));
    for (name, class, mask, task, subject, peer) in [
        ("send", Class::Signal, &b"send"[..], task(target), host, Some(a)),
        ("receive", Class::Signal, b"receive", task(target), a, Some(host)),
        ("read", Class::Ptrace, b"read", task(target), host, Some(a)),
        ("readby", Class::Ptrace, b"readby", task(target), a, Some(host)),
        ("tracedby", Class::Ptrace, b"tracedby", task(target), a, Some(host)),
        ("no hook told of the target", Class::Signal, b"receive", task(None), unknown, Some(host)),
        ("by audit", Class::Signal, b"receive", None, unknown, Some((Some(B), How::Proc))),
        ("by audit, the sender", Class::Signal, b"send", None, (Some(B), How::Proc), None),
        ("another class", Class::Unix, b"receive", task(target), host, None),
    ] {
        let who = resolver.resolve(&violation(class, mask, task), 0, Instant::now());
        assert_eq!((told(&who.subject), who.peer.as_ref().map(told)), (subject, peer), "{name}");
    }
}

#[test]
fn a_cgroup_alone_tells_whose_it_is_or_that_it_is_not_known() {
    let proc = tempfile::tempdir().unwrap();
    let mut resolver = resolver(&proc);
    let now = Instant::now();
    resolver.cgroup(CgroupChange { id: 40, path: b"/docker", gone: true }, now);
    for (name, cgroup, want) in [
        ("a container that is gone", 40, (Some(A), How::Cgroup)),
        ("the root", 1, (None, How::Host)),
        ("never heard of", 41, (None, How::Unknown(Unknown::CgroupUnknown))),
        ("the kernel could not tell", 0, (None, How::Unknown(Unknown::NoProcess))),
    ] {
        assert_eq!(told(&resolver.of_cgroup(cgroup, now)), want, "{name}");
    }
}

#[test]
fn a_cgroup_outlives_its_process_and_a_process_its_id_does_not() {
    let proc = tempfile::tempdir().unwrap();
    let mut resolver = resolver(&proc);
    let now = Instant::now();
    resolver.cgroup(CgroupChange { id: 40, path: b"/gone", gone: true }, now);
    let task = |cgroup_id, start_boottime| Some(Task { cgroup_id, tid: 7, start_boottime, target: None });
    let unknown = |why| (None, How::Unknown(why));
    for (name, pid, time, task, want) in [
        ("a cgroup that is gone", 9, 6, task(40, 0), (Some(A), How::Cgroup)),
        ("the root", 7, 6, task(1, 0), (None, How::Host)),
        ("an unknown cgroup, by its process", 7, 6, task(41, 5 * SECOND), (Some(B), How::Proc)),
        ("an unknown cgroup, another process", 7, 6, task(41, SECOND), unknown(Unknown::CgroupUnknown)),
        ("audit: the process is there", 7, 6, None, (Some(B), How::Proc)),
        ("audit: its id is another's", 7, 4, None, unknown(Unknown::PidReused)),
        ("audit: it is gone", 9, 6, None, unknown(Unknown::ProcessGone)),
    ] {
        let mut violation = violation(Class::File, b"r", task);
        violation.pid = Some(pid);
        violation.time = Some(time * SECOND);
        let who = resolver.resolve(&violation, 0, now);
        assert_eq!(told(&who.subject), want, "{name}");
    }
    let mut nobody = violation(Class::File, b"r", None);
    nobody.pid = None;
    let who = resolver.resolve(&nobody, 0, now);
    assert_eq!(told(&who.subject), unknown(Unknown::NoProcess));
}

#[test]
fn its_own_are_marked() {
    let proc = tempfile::tempdir().unwrap();
    let mut resolver = resolver(&proc);
    let task = Some(Task { cgroup_id: 1, tid: 7, start_boottime: 0, target: None });
    let mut own = violation(Class::File, b"r", task);
    own.pid = Some(std::process::id());
    assert!(resolver.resolve(&own, 0, Instant::now()).subject.own);
    own.pid = Some(1);
    assert!(!resolver.resolve(&own, 0, Instant::now()).subject.own);
}
