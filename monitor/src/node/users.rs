//! Users of this node.

use std::fs::File;
use std::io::Read as _;

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

#[cfg(test)]
mod tests {
    use super::uids;

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
}
