//! The fixed list of violations: what `provoke` does under which profile, and what AppArmor must report.
//!
//! The records per act are the kernel's own, as `cargo xtask vm --suite records` shows them; they are the
//! same on 6.1, 6.12, 6.18 and 7.3.

use std::collections::BTreeMap;

/// A profile that enforces and lacks the rules.
pub const ENFORCE: &str = "lab-enforce";
/// The same in complain mode.
pub const COMPLAIN: &str = "lab-complain";
/// Stops at the first violation.
const KILL: &str = "lab-kill";

/// What a series of the counter says, beside the number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `denied`, `allowed` ...
    pub verdict: String,
    /// `file`, `exec` ...
    pub class: String,
    /// The kernel's word: `open`, `mknod` ...
    pub operation: String,
    /// The profile that decided.
    pub profile: String,
}

/// One operation under one profile.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// The profile.
    pub profile: &'static str,
    /// The hat of that profile which the records name, when it is one that the operation moves to.
    pub hat: Option<&'static str>,
    /// What AppArmor does about it.
    pub verdict: &'static str,
    /// The arguments of `provoke`; `{victim}` is the process id of an unconfined process.
    pub provoke: &'static [&'static str],
    /// How often.
    pub times: u32,
    /// Class and operation of each record that one time makes.
    pub records: &'static [(&'static str, &'static str)],
    /// A file below `/sys/kernel/security/apparmor/features`; a kernel without it asks AppArmor nothing.
    pub needs: Option<&'static str>,
}

/// An act without profile and verdict.
type Row = (&'static [&'static str], u32, &'static [(&'static str, &'static str)]);

/// Reported alike in enforce and in complain mode. Capabilities come once: AppArmor swallows repetitions.
const ALIKE: &[Row] = &[
    (&["open", "/lab/secret"], 3, &[("file", "open")]),
    (&["write", "/lab/secret"], 1, &[("file", "open")]),
    (&["chmod", "/lab/secret"], 2, &[("file", "chmod")]),
    (&["unlink", "/lab/doomed"], 1, &[("file", "unlink")]),
    (&["exec", "/lab/not-a-program"], 2, &[("exec", "exec")]),
    (&["link", "/lab/secret", "/lab/link"], 1, &[("link", "link")]),
    (&["chroot"], 1, &[("capability", "capable")]),
    (&["module"], 1, &[("capability", "capable")]),
    (&["nice"], 1, &[("capability", "capable")]),
    (&["inet"], 1, &[("network", "create")]),
    (&["inet_dgram"], 2, &[("network", "create")]),
    (&["inet6"], 1, &[("network", "create")]),
    (&["netlink"], 1, &[("network", "create")]),
    (&["unix"], 2, &[("unix", "create")]),
    (&["signal", "{victim}"], 3, &[("signal", "signal")]),
    (&["ptrace", "{victim}"], 1, &[("ptrace", "ptrace")]),
    (&["mount", "/lab/mnt"], 1, &[("mount", "mount")]),
    (&["bind", "/lab/granted", "/lab/mnt"], 1, &[("mount", "mount")]),
    (&["remount", "/lab/mnt"], 1, &[("mount", "mount")]),
    (&["private", "/lab/mnt"], 1, &[("mount", "mount")]),
    (&["umount", "/lab/spare"], 1, &[("mount", "umount")]),
    (&["pivot_root", "/lab/granted"], 2, &[("mount", "pivotroot")]),
    (&["rlimit", "2048"], 2, &[("rlimit", "setrlimit")]),
    (&["change_profile", "lab-target"], 1, &[("change_profile", "change_profile")]),
    (&["change_onexec", "lab-target"], 1, &[("change_profile", "change_onexec")]),
    (&["mmap", "/lab/granted/file"], 2, &[("file", "file_mmap")]),
    (&["mprotect", "/lab/granted/file"], 1, &[("file", "file_mprotect")]),
];

/// The same, on kernels that mediate it. Complain mode lets a task into one user namespace, and nothing of it may
/// make another.
const NEWER: &[(&str, Row)] = &[
    ("io_uring", (&["io_uring"], 2, &[("io_uring", "uring_sqpoll")])),
    ("namespaces/mask", (&["userns"], 1, &[("userns", "userns_create")])),
];

/// An enforcing profile stops these at their first record.
const ENFORCED: &[Row] = &[
    (&["create", "/lab/new"], 2, &[("file", "mknod")]),
    (&["lock", "/lab/secret"], 1, &[("file", "open")]),
    (&["connect", "127.0.0.1:9"], 1, &[("network", "create")]),
    // Debian's kernels mediate message queues as files, whose path is the name alone. Complain mode reports this
    // as allowed, and refuses it too.
    (&["mqueue", "aamq"], 1, &[("file", "open")]),
    // The rule names a profile that is not loaded.
    (&["exec", "/lab/nowhere"], 1, &[("exec", "exec")]),
];

/// Complain mode lets them go on to the next.
const COMPLAINED: &[Row] = &[
    (&["create", "/lab/new"], 1, &[("file", "mknod"), ("file", "open")]),
    (&["rename", "/lab/new", "/lab/newer"], 1, &[("file", "rename_src"), ("file", "rename_dest")]),
    (&["lock", "/lab/secret"], 1, &[("file", "open"), ("file", "file_lock")]),
    (&["connect", "127.0.0.1:9"], 1, &[("network", "create"), ("network", "connect")]),
    (&["change_hat", "nohat"], 1, &[("change_profile", "change_hat")]),
    // A program without a rule goes on in a learning profile.
    (&["exec", "/bin/true"], 1, &[("exec", "exec"), ("file", "file_mmap")]),
];

/// In a hat of the profile.
const IN_HAT: Row = (&["in_hat", "hat", "/lab/secret"], 2, &[("file", "open")]);

/// Permitted, and reported because the rule says `audit`.
const AUDITED: &[Row] = &[
    (&["open", "/lab/audited"], 2, &[("file", "open")]),
    (&["exec", "/lab/audited-transition"], 1, &[("exec", "exec")]),
];

/// All acts, in the order in which they must be performed.
pub fn all() -> Vec<Act> {
    let act = |profile, verdict, (provoke, times, records): Row| Act {
        profile,
        hat: None,
        verdict,
        provoke,
        times,
        records,
        needs: None,
    };
    let mut acts = Vec::new();
    for (profile, verdict, own) in [(ENFORCE, "denied", ENFORCED), (COMPLAIN, "allowed", COMPLAINED)] {
        acts.extend(ALIKE.iter().chain(own).map(|row| act(profile, verdict, *row)));
        acts.extend(
            NEWER.iter().map(|(needs, row)| Act { needs: Some(needs), ..act(profile, verdict, *row) }),
        );
        acts.push(Act { hat: Some("hat"), ..act(profile, verdict, IN_HAT) });
    }
    acts.extend(AUDITED.iter().map(|row| act(ENFORCE, "audit", *row)));
    acts.push(act(KILL, "killed", (&["open", "/lab/secret"], 1, &[("file", "open")])));
    acts
}

/// Changes of the policy itself, each a record with the verdict `status`: what apparmor_parser is told, and the
/// operation that the kernel reports.
pub const POLICY: [(&str, &str); 3] =
    [("--add", "profile_load"), ("--replace", "profile_replace"), ("--remove", "profile_remove")];

/// Operations that can be repeated for hours and leave nothing behind, whatever the profile's mode.
const LASTING: [&str; 11] = [
    "open",
    "exec",
    "chroot",
    "inet",
    "signal",
    "pivot_root",
    "ptrace",
    "unix",
    "rlimit",
    "change_onexec",
    "userns",
];

/// A workload without an end: acts of both modes, and one that is killed, which violate again each time, one at
/// a time.
pub fn lasting() -> Vec<Act> {
    let mut acts: Vec<Act> = all()
        .into_iter()
        .filter(|act| act.provoke.first().is_some_and(|name| LASTING.contains(name)))
        .map(|act| Act { times: 1, ..act })
        .collect();
    // Both modes of an operation follow each other.
    acts.sort_by_key(|act| LASTING.iter().position(|name| act.provoke.first() == Some(name)));
    acts
}

/// What the counters must say after these acts.
pub fn counts<'a>(acts: impl IntoIterator<Item = &'a Act>) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for act in acts {
        for (class, operation) in act.records {
            let key = Key {
                verdict: act.verdict.to_owned(),
                class: (*class).to_owned(),
                operation: (*operation).to_owned(),
                profile: act.hat.map_or(act.profile.to_owned(), |hat| format!("{}//{hat}", act.profile)),
            };
            *counts.entry(key).or_insert(0) += u64::from(act.times);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{all, counts, lasting};

    #[test]
    fn both_modes_cover_the_same_classes() {
        let classes = |verdict: &str| -> BTreeSet<&str> {
            all()
                .iter()
                .filter(|a| a.verdict == verdict)
                .flat_map(|a| a.records)
                .map(|(class, _)| *class)
                .collect()
        };
        let want = [
            "capability",
            "change_profile",
            "exec",
            "file",
            "io_uring",
            "link",
            "mount",
            "network",
            "ptrace",
            "rlimit",
            "signal",
            "unix",
            "userns",
        ];
        assert_eq!(classes("denied"), want.into());
        assert_eq!(classes("allowed"), want.into());
    }

    #[test]
    fn the_lasting_workload_shows_both_modes_of_the_main_classes() {
        for verdict in ["denied", "allowed"] {
            for class in ["file", "exec", "capability", "network", "signal", "mount", "ptrace"] {
                let found = lasting()
                    .iter()
                    .any(|act| act.verdict == verdict && act.records.iter().any(|(c, _)| *c == class));
                assert!(found, "{verdict} {class}");
            }
        }
    }

    #[test]
    fn counts_add_up() {
        let acts = all();
        let records: u64 = acts.iter().map(|act| u64::from(act.times) * act.records.len() as u64).sum();
        assert_eq!(counts(&acts).values().sum::<u64>(), records);
        let open = counts(&acts).into_iter().find(|(key, _)| {
            (key.verdict.as_str(), key.operation.as_str(), key.profile.as_str())
                == ("denied", "open", "lab-enforce")
        });
        assert_eq!(
            open.map(|(_, n)| n),
            Some(6),
            "three opens, one for writing, one for a lock, one of a queue"
        );
    }
}
