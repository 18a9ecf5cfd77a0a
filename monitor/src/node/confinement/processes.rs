//! One process of a container, and what it runs under.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use bstr::ByteSlice as _;

use crate::node::label::Label;

/// Deeper than nested kubelets go.
const DEPTH_LIMIT: usize = 16;
/// More than a full node has.
const FOLDERS_LIMIT: usize = 32_768;
/// Processes of one container that are looked at to find its first.
const PROCESSES_LIMIT: usize = 256;

/// Where the hierarchies are mounted; those of v1 that every container has come after the unified one.
const HIERARCHIES: [&str; 4] = ["", "unified", "systemd", "pids"];

/// The folders of the containers with these ids, in one walk over the cgroups below `root`.
pub(super) fn folders(root: &Path, ids: &HashSet<&str>) -> HashMap<Box<str>, PathBuf> {
    let mut found = HashMap::new();
    for hierarchy in HIERARCHIES {
        let top = root.join(hierarchy);
        // The root of a v1 host is a tmpfs that holds the hierarchies, and no cgroup.
        if found.len() < ids.len() && top.join("cgroup.procs").exists() {
            walk(top, ids, &mut found);
        }
    }
    found
}

fn walk(top: PathBuf, ids: &HashSet<&str>, found: &mut HashMap<Box<str>, PathBuf>) {
    let mut left = vec![(top, 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            seen += 1;
            if seen > FOLDERS_LIMIT {
                return;
            }
            let path = entry.path();
            match container_of(&entry.file_name().to_string_lossy()).and_then(|id| ids.get(id)) {
                Some(id) => {
                    found.entry((*id).into()).or_insert(path);
                }
                None if depth < DEPTH_LIMIT => left.push((path, depth + 1)),
                None => {}
            }
        }
    }
}

/// The container id in a folder's name: `<id>`, `cri-containerd-<id>.scope`, `crio-<id>`; not that of the
/// runtime's monitor beside it (`crio-conmon-<id>.scope`).
fn container_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    // A driver that does not fit the runtime joins them with colons.
    let name = name.rsplit(':').next().unwrap_or(name);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(64)?)?;
    let plain = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let ends = prefix.is_empty() || prefix.ends_with('-');
    (plain && ends && !prefix.contains("conmon")).then_some(id)
}

/// What the container whose cgroup is `folder` runs under: the label of its first process.
///
/// None when it has no process (any more). Only `attr/` is read of it, which raises nothing as long as this
/// process is unconfined itself (`__ptrace_may_access` asks AppArmor about both sides).
pub(super) fn label(proc: &Path, folder: &Path) -> Option<Label> {
    let pid = first_process(proc, folder)?;
    let label = read_label(&proc.join(pid.to_string()))?;
    // The process id may have gone to another one in between.
    pids(folder).contains(&pid).then_some(label)
}

fn read_label(process: &Path) -> Option<Label> {
    let own = fs::read(process.join("attr/apparmor/current"));
    // Before 5.1 there is one folder for all modules; there it is AppArmor's if it is the only one.
    let text = own.or_else(|_| fs::read(process.join("attr/current"))).ok()?;
    Label::parse(&text)
}

/// The process that is 1 in its own namespace; otherwise (the pod shares one, or the host's) the oldest by id.
fn first_process(proc: &Path, folder: &Path) -> Option<u32> {
    let pids = pids(folder);
    let first = pids.iter().copied().find(|pid| {
        fs::read(proc.join(pid.to_string()).join("status")).is_ok_and(|status| is_first(&status))
    });
    first.or_else(|| pids.into_iter().min())
}

/// Whether `/proc/<pid>/status` says that the process has id 1 in a namespace below ours.
fn is_first(status: &[u8]) -> bool {
    let Some(ids) = status.lines().find_map(|line| line.strip_prefix(b"NSpid:")) else { return false };
    let ids: Vec<_> = ids.split(u8::is_ascii_whitespace).filter(|id| !id.is_empty()).collect();
    ids.len() > 1 && ids.last() == Some(&&b"1"[..])
}

/// The processes in a cgroup and those below it, as far as they are looked at.
fn pids(folder: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    let mut left = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = left.pop() {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0));
        if pids.len() >= PROCESSES_LIMIT || depth >= DEPTH_LIMIT {
            break;
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        left.extend(below.take(PROCESSES_LIMIT).map(|entry| (entry.path(), depth + 1)));
    }
    pids.truncate(PROCESSES_LIMIT);
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1c9b6a7d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e";

    /// A host's files, as far as they are read.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new(files: &[(&str, &str)]) -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = host.0.path().join(path.replace("ID", ID));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            host
        }

        fn label(&self) -> Option<String> {
            let folders = folders(&self.0.path().join("cgroup"), &HashSet::from([ID]));
            let label = label(&self.0.path().join("proc"), folders.get(ID)?)?;
            Some(format!("{} {}", label.name.to_str_lossy(), label.mode.as_str()))
        }
    }

    #[test]
    fn a_container_is_found_by_its_id_and_nothing_else_is_taken_for_it() {
        for (name, want) in [
            ("ID", true),
            ("cri-containerd-ID.scope", true),
            ("crio-ID", true),
            ("docker-ID.scope", true),
            ("kubepods-burstable-podx.slice:cri-containerd:ID", true),
            ("crio-conmon-ID.scope", false),
            ("libpod-conmon-ID.scope", false),
            ("aID", false),
            ("ID0", false),
            ("", false),
            ("é", false),
        ] {
            let folder = name.replace("ID", ID);
            assert_eq!(container_of(&folder) == Some(ID), want, "{name}");
        }
    }

    #[test]
    fn the_first_process_of_a_container_has_its_label() {
        for (name, files, want) in [
            (
                "v2",
                vec![
                    ("cgroup/cgroup.procs", ""),
                    ("cgroup/kubepods/podx/ID/cgroup.procs", "30\n20\n"),
                    ("proc/30/status", "Name:\ta\nNSpid:\t30\t1\n"),
                    ("proc/20/status", "Name:\tb\nNSpid:\t20\t7\n"),
                    ("proc/30/attr/apparmor/current", "web (enforce)\n"),
                    ("proc/20/attr/apparmor/current", "unconfined\n"),
                ],
                Some("web enforce"),
            ),
            (
                "the host's process ids",
                vec![
                    ("cgroup/cgroup.procs", ""),
                    ("cgroup/ID/cgroup.procs", "30\n20\n"),
                    ("proc/20/attr/apparmor/current", "web (complain)\n"),
                ],
                Some("web complain"),
            ),
            (
                "an old kernel",
                vec![
                    ("cgroup/cgroup.procs", ""),
                    ("cgroup/ID/cgroup.procs", "20\n"),
                    ("proc/20/attr/current", "unconfined\n"),
                ],
                Some("unconfined unconfined"),
            ),
            (
                "crun's cgroup below",
                vec![
                    ("cgroup/cgroup.procs", ""),
                    ("cgroup/ID/cgroup.procs", ""),
                    ("cgroup/ID/container/cgroup.procs", "20\n"),
                    ("proc/20/attr/apparmor/current", "web (enforce)\n"),
                ],
                Some("web enforce"),
            ),
            (
                "v1",
                vec![
                    ("cgroup/pids/cgroup.procs", ""),
                    ("cgroup/pids/kubepods/ID/cgroup.procs", "20\n"),
                    ("proc/20/attr/apparmor/current", "web (enforce)\n"),
                ],
                Some("web enforce"),
            ),
            ("ended", vec![("cgroup/cgroup.procs", ""), ("cgroup/ID/cgroup.procs", "")], None),
            ("process gone", vec![("cgroup/cgroup.procs", ""), ("cgroup/ID/cgroup.procs", "20\n")], None),
            (
                "another namespace's process",
                vec![("cgroup/cgroup.procs", ""), ("cgroup/ID/cgroup.procs", "0\n")],
                None,
            ),
            ("no such container", vec![("cgroup/cgroup.procs", "1\n")], None),
        ] {
            assert_eq!(Host::new(&files).label().as_deref(), want, "{name}");
        }
    }
}
