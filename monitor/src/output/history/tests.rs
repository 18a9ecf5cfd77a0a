use std::fs;

use bumpalo::Bump;

use super::*;
use crate::merge::SeenBy;
use crate::record::{Origin, Senders, parse_line};

fn observe(history: &History, profile: &str, name: &str, second: u64) {
    let line = format!(
        r#"audit: type=1400 audit({second}.000:1): apparmor="ALLOWED" operation="open" profile="{profile}" name="{name}" pid=1 comm="c" denied_mask="r""#
    );
    let arena = Bump::new();
    let violation = parse_line(line.as_bytes(), Origin::File, &Senders::by_program(), &arena).unwrap();
    history.observe(&Event::unresolved(violation, SeenBy::default()));
}

/// As the agent opens it, but for the process in which it is checked.
fn open(folder: &Path) -> History {
    let check = |folder: &Path| {
        let folder = folder.to_owned();
        std::thread::spawn(move || check(&folder)).join().unwrap_or_else(|_| anyhow::bail!("a panic"))
    };
    History::open_checked(folder, &check)
}

fn now() -> u64 {
    nanos(SystemTime::now()) / 1_000_000_000
}

#[test]
fn kinds_are_told_apart_and_counted() {
    let history = History::in_memory();
    for (profile, name, second) in
        [("p", "/a", 10), ("p", "/a", 30), ("p", "/b", 20), ("p//null-/x", "/b", 25), ("q", "/a", 5)]
    {
        observe(&history, profile, name, second);
    }
    let books: Vec<_> = history
        .profiles()
        .into_iter()
        .map(|(name, book)| {
            (name, book.distinct, book.last_new / 1_000_000_000, book.last / 1_000_000_000, book.allowed)
        })
        .collect();
    assert_eq!(books, [("p".to_owned(), 3, 25, 30, 4), ("q".to_owned(), 1, 5, 5, 1)]);
    assert_eq!(history.evidence().iter().map(|one| one.seen.count).sum::<u64>(), 5);
}

#[test]
fn one_profile_cannot_take_all_the_room() {
    let history = History::in_memory();
    let more = 100;
    for number in 0..KINDS_OF_PROFILE + more {
        observe(&history, "flood", &format!("/{number}"), 1);
    }
    observe(&history, "quiet", "/a", 1);
    assert_eq!(history.len(), KINDS_OF_PROFILE + 1);
    assert_eq!(history.dropped_total(), more as u64);
}

#[test]
fn it_outlives_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let second = now();
    let history = open(folder.path());
    observe(&history, "p", "/a", second);
    observe(&history, "p", "/old", 1);
    history.write();
    observe(&history, "p", "/a", second + 1);
    history.write();
    let mut before = history.evidence();
    before.retain(|one| one.record.contains("/a"));
    drop(history);
    assert_eq!(read(folder.path()).unwrap().len(), 2);
    let history = open(folder.path());
    assert_eq!(history.evidence(), before, "what is too old is forgotten, the rest is as it was");
    assert_eq!(history.profiles().remove(0).1.distinct, 1);
    drop(history);
    assert_eq!(read(folder.path()).unwrap().len(), 1);
}

#[test]
fn damage_is_set_aside_and_never_fatal() {
    type Row = (&'static str, fn(&mut Vec<u8>));
    let damage: [Row; 4] = [
        ("another file", |bytes| *bytes = b"not a database".to_vec()),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty pages", |bytes| bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0)),
        ("noise", |bytes| bytes.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x55)),
    ];
    for (name, damage) in damage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.redb");
        let history = open(folder.path());
        observe(&history, "p", "/a", now());
        history.write();
        drop(history);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let history = open(folder.path());
        assert!(history.is_empty(), "{name}");
        assert!(folder.path().join("history.redb.unreadable").exists(), "{name}");
        observe(&history, "p", "/b", now());
        history.write();
        assert_eq!(history.failed_total(), 0, "{name}");
        drop(history);
        assert_eq!(open(folder.path()).len(), 1, "{name}");
    }
}

#[test]
fn a_file_that_ended_an_agent_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    observe(&history, "p", "/a", now());
    history.write();
    drop(history);
    fs::write(folder.path().join("history.redb.opening"), "").unwrap();
    assert!(open(folder.path()).is_empty());
    assert!(folder.path().join("history.redb.unreadable").exists());
}

#[test]
fn a_folder_that_cannot_be_used_costs_only_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let history = open(&file);
    observe(&history, "p", "/a", now());
    history.write();
    assert_eq!((history.len(), history.failed_total()), (1, 1));
    // A second agent with the same folder.
    let first = open(folder.path());
    let second = open(folder.path());
    observe(&second, "p", "/a", now());
    second.write();
    assert_eq!((first.failed_total(), second.failed_total()), (0, 1));
    assert!(!folder.path().join("history.redb.unreadable").exists());
}
