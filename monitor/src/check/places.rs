//! The directories that the agent needs, read-only or writable.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::config::Config;
use crate::node::Hierarchy;

/// From a cgroup's id to a container.
pub(super) fn cgroups() -> Finding {
    const TREE: &str = "/sys/fs/cgroup";
    let hierarchy = Hierarchy::of_node();
    let version = match hierarchy.is_v2() {
        true => "v2".to_owned(),
        false => format!("v1, told apart by hierarchy {} (pids)", hierarchy.number),
    };
    match fs::read_dir(TREE).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Finding::ok("cgroup", version),
        _ => Finding::warn(
            "cgroup",
            format!(
                "{version}, and nothing at {TREE}: containers that are older than the agent stay unknown"
            ),
            format!("mount the node's {TREE} there, read-only"),
        ),
    }
}

/// What outlives the agent in the kernel.
pub(super) fn pins(config: &Config) -> Finding {
    if config.no_pin {
        return Finding::ok("bpffs", "not wanted (--no-pin)");
    }
    let wanted = &config.pin_dir;
    let folder = existing(wanted);
    let on_bpffs = statfs(folder).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    let lost = "what is denied between two agents is not counted";
    if !on_bpffs {
        return Finding::warn(
            "bpffs",
            format!("{} is on no BPF file system: {lost}", wanted.display()),
            "mount -t bpf bpf /sys/fs/bpf (in a pod: the node's, as a hostPath), or --pin-dir, or --no-pin",
        );
    }
    match access(folder, AccessFlags::W_OK) {
        Ok(()) => Finding::ok("bpffs", format!("{} can be written", folder.display())),
        Err(error) => Finding::warn(
            "bpffs",
            format!("{} cannot be written: {error}: {lost}", folder.display()),
            "mount it writable, or --pin-dir, or --no-pin",
        ),
    }
}

/// What outlives the agent on disk.
pub(super) fn state(config: &Config) -> Finding {
    let folder = existing(&config.state_dir);
    match access(folder, AccessFlags::W_OK) {
        Ok(()) => Finding::ok("state", format!("{} can be written", folder.display())),
        Err(error) => Finding::warn(
            "state",
            format!("{} cannot be written: {error}: a second agent would go unnoticed", folder.display()),
            "mount a folder of the node there, or name another one with --state-dir",
        ),
    }
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    #[test]
    fn places_are_judged_where_they_would_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            state_dir: folder.path().join("deep/state"),
            pin_dir: folder.path().join("pins"),
            ..Config::default()
        };
        assert_eq!(state(&config).status, Status::Ok);
        assert_eq!(pins(&config).status, Status::Warn, "no BPF file system");
        assert_eq!(pins(&Config { no_pin: true, ..config }).status, Status::Ok);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is made");
        let file = Config { state_dir: "/proc/self/status/state".into(), ..Config::default() };
        assert!(existing(&file.state_dir).ends_with("status"));
    }
}
