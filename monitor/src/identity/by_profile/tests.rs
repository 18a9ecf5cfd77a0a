use std::fs;

use super::super::containers::Limits;
use super::*;
use crate::record::{Class, Origin, Verdict};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const KEEP: Duration = Duration::from_secs(600);
const MILLISECOND: u64 = 1_000_000;

/// A node with containers A, under `web`, and B, under `db`, that was watched from the beginning of its time.
struct Lab {
    proc: tempfile::TempDir,
    tree: tempfile::TempDir,
    policy: tempfile::TempDir,
    containers: Containers,
    by_profile: ByProfile,
    /// When it began.
    start: Instant,
    /// Milliseconds since then.
    now: u64,
}

impl Lab {
    fn new() -> Self {
        let [proc, tree, policy] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let start = Instant::now();
        let by_profile = ByProfile::new(
            Some(Tree::at(tree.path())),
            Processes::at(proc.path()),
            Attachments::at(policy.path()),
            KEEP,
            start,
        );
        let containers = Containers::new(Limits::default());
        let mut lab = Self { proc, tree, policy, containers, by_profile, start, now: 1_000 };
        for (id, profile) in [(A, "web"), (B, "db")] {
            lab.container(id);
            lab.load(profile, profile);
        }
        lab.process(1, "unconfined", "/");
        lab.process(7, "web (enforce)", &format!("/docker/{A}"));
        lab.process(8, "db (enforce)", &format!("/docker/{B}"));
        assert_eq!(lab.whose("web"), None, "nothing was watched when it was made");
        lab.now += 1_000;
        lab
    }

    fn container(&self, id: &str) {
        fs::create_dir_all(self.tree.path().join("docker").join(id)).unwrap();
    }

    fn ends(&self, id: &str) {
        fs::remove_dir(self.tree.path().join("docker").join(id)).unwrap();
    }

    fn process(&self, pid: u32, label: &str, cgroup: &str) {
        let folder = self.proc.path().join(pid.to_string());
        fs::create_dir_all(folder.join("attr/apparmor")).unwrap();
        fs::write(folder.join("attr/apparmor/current"), format!("{label}\n")).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
    }

    fn exits(&self, pid: u32) {
        fs::remove_dir_all(self.proc.path().join(pid.to_string())).unwrap();
    }

    fn load(&self, profile: &str, attach: &str) {
        let folder = self.policy.path().join(format!("{profile}.1"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("name"), format!("{profile}\n")).unwrap();
        fs::write(folder.join("attach"), format!("{attach}\n")).unwrap();
    }

    /// Whose a record of this very moment is.
    fn whose(&mut self, profile: &str) -> Option<String> {
        self.whose_was(profile, self.now)
    }

    /// Whose a record is that comes now and was made at `time`.
    fn whose_was(&mut self, profile: &str, time: u64) -> Option<String> {
        let violation = Violation {
            time: Some(time * MILLISECOND),
            profile: Some(profile.as_bytes()),
            ..Violation::new(Verdict::Denied, Class::File, Origin::Netlink, b"x")
        };
        let (now, wall) = self.clocks();
        let found = self.by_profile.find(&violation, &mut self.containers, now, wall);
        found.map(|container| container.id.to_string())
    }

    fn note(&mut self, profile: &str, owner: &Owner) {
        let violation = Violation {
            profile: Some(profile.as_bytes()),
            ..Violation::new(Verdict::Denied, Class::File, Origin::Netlink, b"x")
        };
        self.by_profile.note(&violation, owner, self.clocks().0);
    }

    fn clocks(&self) -> (Instant, u64) {
        (self.start + Duration::from_millis(self.now), self.now * MILLISECOND)
    }
}

#[test]
fn only_the_container_that_must_have_been_the_one_is_told() {
    type Change = fn(&mut Lab);
    let rows: [(&str, Change, Option<&str>); 17] = [
        ("nothing has changed", |_| {}, Some(A)),
        (
            "a learning profile below it",
            |lab| lab.process(7, "web//null-/bin/sh (complain)", &at(A)),
            Some(A),
        ),
        ("another container starts under it", |lab| lab.process(8, "web (enforce)", &at(B)), None),
        ("a process of the host is under it", |lab| lab.process(1, "web (enforce)", "/"), None),
        ("one whose place tells nothing is under it", |lab| lab.process(9, "web (enforce)", "/docker"), None),
        ("nobody is under it any more", |lab| lab.exits(7), None),
        ("a container has no process any more", |lab| lab.exits(8), None),
        ("another container was made a moment ago", |lab| lab.container(&"c".repeat(64)), None),
        (
            "another container has died a moment ago",
            |lab| {
                lab.exits(8);
                lab.ends(B);
            },
            None,
        ),
        (
            "another came and went",
            |lab| {
                lab.container(&"c".repeat(64));
                lab.ends(&"c".repeat(64));
            },
            None,
        ),
        ("a session of the host was made: who knows what below it", |lab| lab.container("session"), None),
        ("the host was seen under it", |lab| lab.note("web", &Owner::Host), None),
        ("another container was seen under it, and is there", |lab| lab.note("web", &owner(B)), None),
        ("one that is gone was seen under it", |lab| lab.note("web", &owner("c")), Some(A)),
        ("another profile was seen on the host", |lab| lab.note("db", &Owner::Host), Some(A)),
        ("programs of the host attach to it", |lab| lab.load("web", "/usr/sbin/web"), None),
        (
            "it is not loaded any more",
            |lab| fs::remove_dir_all(lab.policy.path().join("web.1")).unwrap(),
            None,
        ),
    ];
    for (name, change, want) in rows {
        let mut lab = Lab::new();
        change(&mut lab);
        assert_eq!(lab.whose("web").as_deref(), want, "{name}");
    }
}

fn at(id: &str) -> String {
    format!("/docker/{id}")
}

fn owner(id: &str) -> Owner {
    Owner::Container(Arc::new(Container { id: id.into(), ..Container::default() }))
}

#[test]
fn a_record_is_told_by_what_was_there_when_it_was_made() {
    for (name, made, comes, want) in [
        ("at once", 5_000, 5_000, Some(A)),
        ("within a second", 5_000, 5_999, Some(A)),
        ("late", 5_000, 6_001, None),
        ("before the last change", 2_900, 3_500, None),
        ("right after the last change", 3_020, 3_500, None),
        ("a while after the last change", 3_100, 3_500, Some(A)),
        ("in the future", 5_001, 5_000, None),
    ] {
        let mut lab = Lab::new();
        lab.now = 3_000;
        lab.container(&"c".repeat(64));
        lab.ends(&"c".repeat(64));
        // Told at the next look, whatever it is for.
        assert_eq!(lab.whose("web"), None, "{name}: it changes");
        lab.now = comes;
        assert_eq!(lab.whose_was("web", made).as_deref(), want, "{name}");
    }
}

#[test]
fn a_look_serves_the_records_before_it_and_is_not_taken_for_each() {
    let mut lab = Lab::new();
    assert_eq!(lab.whose("web").as_deref(), Some(A));
    let looked = lab.now;
    // What is there changes without a cgroup: whoever still says A has not looked again, at processes or profiles.
    lab.process(9, "web (enforce)", "/");
    fs::remove_dir_all(lab.policy.path().join("web.1")).unwrap();
    lab.now += 60;
    for (name, time, want) in [
        ("of the look's own time", looked - 10, Some(A)),
        ("of the time in which a stamp is too old", looked - 9, None),
        ("after it, and too soon for another", looked + 5, None),
    ] {
        assert_eq!(lab.whose_was("web", time).as_deref(), want, "{name}");
    }
    lab.now += 60;
    assert_eq!(lab.whose("web"), None, "the next look sees the host");
    let mut lab = Lab::new();
    assert_eq!(lab.whose("web").as_deref(), Some(A));
    lab.note("web", &Owner::Host);
    assert_eq!(lab.whose_was("web", lab.now - 10), None, "who is seen meanwhile counts at once");
}

#[test]
fn without_a_tree_or_a_profile_of_this_machine_nothing_is_told() {
    let mut lab = Lab::new();
    let mut violation = Violation {
        time: Some(lab.now * MILLISECOND),
        profile: Some(b"web"),
        namespace: Some(b"k8s"),
        ..Violation::new(Verdict::Denied, Class::File, Origin::Netlink, b"x")
    };
    let (now, wall) = lab.clocks();
    assert_eq!(lab.by_profile.find(&violation, &mut lab.containers, now, wall), None, "of a namespace");
    violation.namespace = None;
    lab.by_profile.tree = None;
    assert_eq!(lab.by_profile.find(&violation, &mut lab.containers, now, wall), None, "no tree");
}
