//! The mounted cgroup tree: what was there before the agent, and what nobody told of.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::node::Hierarchy;

/// Where the hierarchy may be mounted: as this process sees it, or as the host's first process does. The
/// latter needs CAP_SYS_PTRACE, and the host's process ids.
const V2: [&str; 4] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
    "/proc/1/root/sys/fs/cgroup",
    "/proc/1/root/sys/fs/cgroup/unified",
];
const V1: [&str; 2] = ["/sys/fs/cgroup/pids", "/proc/1/root/sys/fs/cgroup/pids"];

/// The inode number of a hierarchy's root (kernfs numbers from 1). A mount that was made inside of a cgroup
/// namespace begins further down and has another.
const ROOT: u64 = 1;
/// Cgroups in one walk; the kernel has no limit of its own.
const MOST: usize = 65_536;

/// A mounted hierarchy.
#[derive(Clone, Debug)]
pub struct Tree(PathBuf);

impl Tree {
    /// The mount of this hierarchy from its root, if this process can see one.
    pub fn of(hierarchy: Hierarchy) -> Option<Self> {
        let candidates: &[&str] = if hierarchy.is_v2() { &V2 } else { &V1 };
        candidates.iter().map(PathBuf::from).find(|path| is_root(path, hierarchy.is_v2())).map(Self)
    }

    #[cfg(test)]
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Calls `found` with the id and the path of each cgroup below the root, parents first. What vanishes
    /// meanwhile is left out.
    pub fn walk(&self, mut found: impl FnMut(u64, &[u8])) {
        let mut waiting = vec![self.0.clone()];
        let mut count = 0;
        while let Some(folder) = waiting.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if count >= MOST {
                    return;
                }
                count += 1;
                let path = entry.path();
                if let Ok(below) = path.strip_prefix(&self.0) {
                    let path = [b"/", below.as_os_str().as_bytes()].concat();
                    found(entry.ino(), &path);
                }
                waiting.push(path);
            }
        }
    }
}

fn is_root(path: &Path, v2: bool) -> bool {
    // Only v2 has the list of controllers; a v1 host's /sys/fs/cgroup is a tmpfs, which has neither file.
    let file = if v2 { "cgroup.controllers" } else { "cgroup.procs" };
    path.join(file).exists() && fs::metadata(path).is_ok_and(|metadata| metadata.ino() == ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_folder_with_its_inode() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kubepods/pod1/a")).unwrap();
        fs::write(folder.path().join("kubepods/cgroup.procs"), "").unwrap();
        let mut found = Vec::new();
        Tree(folder.path().to_owned()).walk(|id, path| found.push((id, path.to_owned())));
        let want: Vec<_> = ["/kubepods", "/kubepods/pod1", "/kubepods/pod1/a"]
            .map(|path| {
                let inode = fs::metadata(folder.path().join(&path[1..])).unwrap().ino();
                (inode, path.as_bytes().to_vec())
            })
            .into();
        assert_eq!(found, want);
        assert!(!is_root(folder.path(), true));
    }
}
