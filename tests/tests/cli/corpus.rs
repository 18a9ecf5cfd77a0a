//! `aa-monitor replay` on what real kernels wrote.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::agent::output;

/// What every kernel of the lab reports; newer ones add io_uring and user namespaces.
const CLASSES: [&str; 12] = [
    "capability",
    "change_profile",
    "exec",
    "file",
    "link",
    "mount",
    "network",
    "policy",
    "ptrace",
    "rlimit",
    "signal",
    "unix",
];
const NEWER: [&str; 2] = ["io_uring", "userns"];

#[test]
fn every_line_of_four_kernels_is_a_violation() {
    for kernel in ["6.1", "6.12", "6.18", "7.3"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/records/{kernel}.log"));
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        let end = output(&["replay", "--strict", "--output", "json", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&end.stderr);
        assert!(end.status.success(), "{kernel}: {said}");
        let account =
            format!("{lines} lines = {lines} violations + 0 of other kinds + 0 malformed + 0 not believed");
        assert!(said.contains(&account), "{kernel}: want {account}, got {said}");

        let printed = String::from_utf8(end.stdout).unwrap();
        let events: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), lines, "{kernel}");
        let all = |key: &str| -> BTreeSet<&str> { events.iter().filter_map(|e| e[key].as_str()).collect() };
        let newer = if kernel == "6.1" { &[][..] } else { &NEWER };
        let want: BTreeSet<&str> = CLASSES.iter().chain(newer).copied().collect();
        assert_eq!(all("class"), want, "{kernel}");
        assert_eq!(
            all("verdict"),
            BTreeSet::from(["allowed", "audit", "denied", "killed", "status"]),
            "{kernel}"
        );
    }
}
