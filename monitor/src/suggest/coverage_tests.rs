//! What is suggested grants all that speaks for it: of records that were made up, and of those that real
//! kernels wrote.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::generalise::Level;
use super::granted::{Block, blocks};
use super::plan::tests::evidence;
use super::plan::{ExecChoice, Suggestion, Wishes, plan};
use super::profile::{self, Folders};
use super::render;
use super::text::Abi;
use crate::output::history::evidence::Evidence;
use crate::record::{Class, Violation};

const EXECS: [ExecChoice; 3] = [ExecChoice::Ix, ExecChoice::Cx, ExecChoice::Px];
const LEVELS: [Level; 3] = [Level::None, Level::Volatile, Level::Full];

/// Where what a profile did belongs: its learning profiles are the parent's choice.
fn place(profile: &str, exec: ExecChoice, hats: &BTreeSet<String>) -> Vec<String> {
    let mut parts = profile.split("//null-");
    let mut path: Vec<String> = parts.next().unwrap().split("//").map(str::to_owned).collect();
    match (parts.next(), exec) {
        (Some(hat), _) if hats.contains(hat) => path = vec![path.remove(0), hat.to_owned()],
        (Some(program), ExecChoice::Cx) if program.starts_with('/') && path.len() == 1 => {
            path.push(program.to_owned());
        }
        (Some(program), ExecChoice::Px) if program.starts_with('/') => path = vec![program.to_owned()],
        _ => {}
    }
    path
}

/// Suggests, and returns the evidence that the text of the profile does not grant.
fn not_granted(all: &[Evidence], wishes: &Wishes) -> (String, Vec<String>) {
    let suggestions = plan(all, wishes);
    let text = render::profile(&suggestions, wishes.abi, false, None);
    let (blocks, exec) = (blocks(&text), wishes.exec);
    let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_hat = |v: &Violation<'_>| v.operation == b"change_hat";
    let hats: BTreeSet<String> =
        all.iter().filter_map(|one| one.with(|v| v.name.filter(|_| is_hat(v)).map(owned))?).collect();
    let granted = |one: &Evidence| {
        one.with(|v| {
            let path = place(&owned(v.profile.unwrap()), exec, &hats);
            if let Some(hat) = v.name.filter(|_| is_hat(v)) {
                return Block::of(&blocks, &[path[0].clone(), owned(hat)]).is_some();
            }
            let peer = v.peer.map(|peer| place(&owned(peer), exec, &hats).join("//"));
            let own = path.join("//");
            let unwritable = matches!(v.class, Class::Userns | Class::IoUring) && wishes.abi == Abi::V3;
            let block = Block::of(&blocks, &path);
            unwritable || block.is_some_and(|b| b.grants(v, one.seen.owner, &own, peer.as_deref()))
        })
        .unwrap()
    };
    let left = all.iter().filter(|one| !granted(one)).map(|one| one.record.clone()).collect();
    (text, left)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A part of a path: words, what is made anew each time, and what is special to a profile.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "a",
        "b.conf",
        "c.conf",
        "lib",
        "task",
        "fd",
        "libc-2.36.so",
        "x.pyc.12345678",
        "0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f",
        "web-5d4f8c7b9d-x2k4z",
        "4f1c9b6a7d2e3f405162738495a6b7c8",
        "tmpab3_9xyz",
        "@{HOME}",
        "{a,b}",
        "a b",
        "#h",
        "**",
    ]);
    let byte = prop::num::u8::ANY.prop_filter("no part of a name", |byte| !b"\0/".contains(byte));
    prop_oneof![
        3 => word.prop_map(|word| word.as_bytes().to_vec()),
        1 => "[0-9]{1,4}".prop_map(String::into_bytes),
        1 => "x[a-zA-Z0-9]{6}".prop_map(String::into_bytes),
        1 => "[ -.0-~]{1,5}".prop_map(String::into_bytes),
        1 => prop::collection::vec(byte, 1..4),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let root = prop::sample::select(vec!["", "/proc", "/tmp", "/run/user", "/home", "/etc", "/dev/shm"]);
    (root, prop::collection::vec(part(), 1..4)).prop_map(|(root, parts)| {
        parts.iter().fold(root.as_bytes().to_vec(), |path, part| [&path, &b"/"[..], part].concat())
    })
}

fn record() -> impl Strategy<Value = String> {
    let profile =
        prop::sample::select(vec!["p", "p", "p//null-/bin/sh", "p//null-/bin/sh//null-/bin/cat", "q"]);
    let peer = prop::sample::select(vec!["p", "unconfined", "a (b)", "p//null-/bin/sh"]);
    let what = prop_oneof![
        4 => (path(), prop::sample::select(vec!["r", "w", "a", "rw", "wc", "d", "wk", "rm"]), 0..2_u32).prop_map(
            |(path, mask, ouid)| format!(
                r#"operation="open" name={} denied_mask="{mask}" fsuid=1 ouid={ouid}"#, hex(&path)
            )
        ),
        1 => path().prop_map(|path| format!(r#"operation="exec" name={} denied_mask="x""#, hex(&path))),
        1 => path().prop_map(|path| format!(
            r#"operation="open" info="Failed name lookup - disconnected path" name={} denied_mask="r""#, hex(&path[1..])
        )),
        1 => (path(), path()).prop_map(|(link, target)| format!(
            r#"operation="link" name={} denied_mask="l" target={}"#, hex(&link), hex(&target)
        )),
        1 => prop::sample::select(vec!["chown", "sys_admin"])
            .prop_map(|name| format!(r#"operation="capable" capname="{name}""#)),
        1 => (prop::sample::select(vec!["inet", "inet6", "netlink"]), prop::sample::select(vec!["create", "connect"]))
            .prop_map(|(family, access)| format!(
                r#"operation="{access}" class="net" family="{family}" sock_type="stream" denied="{access}""#
            )),
        1 => (peer.clone(), prop::sample::select(vec!["create", "send connect"])).prop_map(|(peer, access)| format!(
            r#"operation="connect" class="net" family="unix" sock_type="dgram" denied="{access}" addr="/run/s" peer_addr="@x" peer="{peer}""#
        )),
        1 => (peer.clone(), prop::sample::select(vec!["send", "receive"]), prop::sample::select(vec!["term", "hup"]))
            .prop_map(|(peer, access, signal)| format!(
                r#"operation="signal" denied_mask="{access}" signal={signal} peer="{peer}""#
            )),
        1 => (peer, prop::sample::select(vec!["trace", "readby"])).prop_map(
            |(peer, access)| format!(r#"operation="ptrace" denied_mask="{access}" peer="{peer}""#)
        ),
        1 => (1..5_u32).prop_map(|value| format!(r#"operation="setrlimit" rlimit=nofile value={value}"#)),
        1 => prop::sample::select(vec!["other", "third one"])
            .prop_map(|target| format!(r#"operation="change_profile" target="{target}""#)),
    ];
    (profile, what).prop_map(|(profile, what)| format!(r#"profile="{profile}" {what}"#))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_suggested_grants_all_that_speaks_for_it(
        records in prop::collection::vec(record(), 1..24),
        exec in prop::sample::select(EXECS.to_vec()),
        level in prop::sample::select(LEVELS.to_vec()),
        abi in prop::sample::select(vec![Abi::V3, Abi::V4]),
    ) {
        let all = evidence(&records.iter().map(String::as_str).collect::<Vec<_>>());
        let wishes = Wishes { exec, level, abi, ..Wishes::default() };
        let (text, left) = not_granted(&all, &wishes);
        prop_assert!(left.is_empty(), "{left:#?} of\n{text}");
    }

    /// Else the author would be told of it again.
    #[test]
    fn what_is_suggested_is_not_suggested_again(
        records in prop::collection::vec(record(), 1..24),
        exec in prop::sample::select(EXECS.to_vec()),
        level in prop::sample::select(LEVELS.to_vec()),
    ) {
        let all = evidence(&records.iter().map(String::as_str).collect::<Vec<_>>());
        let wishes = Wishes { exec, level, ..Wishes::default() };
        let text = render::profile(&plan(&all, &wishes), wishes.abi, false, None);
        let existing = Some(profile::read(&text, &Folders(Vec::new())));
        let again = plan(&all, &Wishes { existing, ..wishes });
        prop_assert!(!again.iter().any(Suggestion::is_missing), "{}{text}", render::rules(&again, Abi::V3, false));
    }
}

#[test]
fn what_real_kernels_wrote_is_granted() {
    for series in ["6.1", "6.12", "6.18", "7.3"] {
        let path = format!("{}/../tests/fixtures/records/{series}.log", env!("CARGO_MANIFEST_DIR"));
        let mut collection = super::Collection::new(super::Only::default());
        collection.read_log(path.as_ref()).unwrap();
        let (all, _) = collection.finish();
        for exec in EXECS {
            for level in LEVELS {
                let wishes = Wishes { exec, level, abi: Abi::V4, ..Wishes::default() };
                let (text, left) = not_granted(&all, &wishes);
                assert!(left.is_empty(), "{series} {exec:?} {level:?}: {left:#?} of\n{text}");
            }
        }
    }
}

/// Else the two above could not fail.
#[test]
fn what_is_left_out_is_noticed() {
    let record = r#"operation="open" profile="p" name="/a" denied_mask="rw""#;
    for (rule, granted) in [("/a rw", true), ("/a r", false), ("/b rw", false), ("owner /a rw", false)] {
        let blocks = blocks(&format!("profile p {{\n  {rule}, # 1x\n}}\n"));
        let grants = evidence(&[record])[0].with(|v| blocks[0].grants(v, false, "p", None)).unwrap();
        assert_eq!(grants, granted, "{rule}");
    }
}
