//! The node: what its kernel says about AppArmor as a whole, and whom it knows by name.

use std::fs::{self, File};
use std::io::Read as _;

/// Whether the running kernel enforces AppArmor: built in, and neither switched off nor left out at boot.
pub fn apparmor_enabled() -> bool {
    // security/apparmor/lsm.c: aa_enabled prints Y or N; the file is missing without CONFIG_SECURITY_APPARMOR.
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Where users are known by name: the host's file, where this process may look into the host's root, else its
/// own root's.
const PASSWD: [&str; 2] = ["/proc/1/root/etc/passwd", "/etc/passwd"];

/// More than any node's file is.
const PASSWD_LIMIT: u64 = 1 << 20;

/// The users that the system bus runs as: Debian calls it messagebus, Fedora dbus.
const BUS_USERS: [&str; 2] = ["messagebus", "dbus"];

/// The users whose bus daemons are believed: root, and the one that the system bus of this machine runs as.
///
/// The C library is not asked. It loads plugins for that, of another C library than the one that a static
/// program was linked with, and the program ends there.
pub fn bus_users() -> Vec<u32> {
    let passwd = PASSWD.iter().find_map(|path| {
        let mut text = Vec::new();
        File::open(path).ok()?.take(PASSWD_LIMIT).read_to_end(&mut text).ok()?;
        Some(text)
    });
    let named = uids(&passwd.unwrap_or_default(), &BUS_USERS);
    std::iter::once(0).chain(named).collect()
}

/// The ids of users in a passwd(5) file.
fn uids(passwd: &[u8], names: &[&str]) -> Vec<u32> {
    let uid = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let uid = std::str::from_utf8(fields.nth(1)?).ok()?;
        names.iter().any(|wanted| wanted.as_bytes() == name).then_some(())?;
        uid.parse().ok()
    };
    passwd.split(|byte| *byte == b'\n').filter_map(uid).collect()
}

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
    use super::{Hierarchy, uids};

    #[test]
    fn users_are_found_by_name() {
        for (name, passwd, want) in [
            (
                "Debian",
                &b"root:x:0:0:root:/root:/bin/bash\nmessagebus:x:103:104::/nonexistent:/bin/false\n"[..],
                &[103][..],
            ),
            ("Fedora, no end of line", b"dbus:x:81:81:System Message Bus:/:/usr/sbin/nologin", &[81]),
            ("nobody of that name", b"root:x:0:0:root:/root:/bin/bash\n", &[]),
            ("a name that begins alike", b"messagebus2:x:5:5::/:\n", &[]),
            ("no number", b"dbus:x:many:81::/:\ndbus\n\n:::\n\xff:\xff:\xff\n", &[]),
            ("nothing", b"", &[]),
        ] {
            assert_eq!(uids(passwd, &["messagebus", "dbus"]), want, "{name}");
        }
    }

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
