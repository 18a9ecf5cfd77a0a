//! Which cgroup hierarchy tells containers apart.

use std::fs;

/// The cgroup hierarchy that tells containers apart on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its number, as in /proc/self/cgroup; 0 is cgroup v2.
    pub number: u16,
}

impl Hierarchy {
    /// Cgroup v2, in which a task has one cgroup.
    pub const V2: Self = Self { number: 0 };

    /// Asks the kernel: `pids` where a cgroup v1 hierarchy has that controller, because there every runtime
    /// puts its containers and v2, if it is there too, may know none; otherwise v2.
    pub fn of_node() -> Self {
        fs::read("/proc/self/cgroup").map_or(Self::V2, |file| Self::read(&file))
    }

    /// Whether it is the unified hierarchy.
    pub const fn is_v2(self) -> bool {
        self.number == 0
    }

    /// From the lines `number:controllers:path` of a `/proc/<pid>/cgroup`.
    fn read(file: &[u8]) -> Self {
        let number = file.split(|byte| *byte == b'\n').find_map(|line| {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let (number, controllers) = (parts.next()?, parts.next()?);
            let pids = controllers.split(|byte| *byte == b',').any(|name| name == b"pids");
            pids.then(|| str::from_utf8(number).ok()?.parse().ok()).flatten()
        });
        Self { number: number.unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::Hierarchy;

    #[test]
    fn containers_are_told_apart_by_pids_or_by_v2() {
        for (name, file, want) in [
            ("v2", "0::/init.scope\n", 0),
            ("v1", "12:pids:/\n3:cpu,cpuacct:/\n1:name=systemd:/\n", 12),
            ("hybrid", "4:misc,pids:/\n0::/\n", 4),
            ("v1 without pids", "3:memory:/\n0::/\n", 0),
            ("nothing", "", 0),
        ] {
            assert_eq!(Hierarchy::read(file.as_bytes()).number, want, "{name}");
        }
    }
}
