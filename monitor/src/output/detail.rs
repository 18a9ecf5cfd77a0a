//! What a violation was about, in one line of text for people.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::escape::escape;
use crate::record::{Class, Violation};

/// More of one value than this no line can show.
const VALUE_LIMIT: usize = 4096;

/// The object of a violation: `/etc/shadow r`, `net_admin`, `inet stream 10.0.0.1:80`, `term send peer=runc`.
///
/// The parts stand in the same order for every class, so that the eye finds them; all of them harmless text.
pub(super) fn detail(violation: &Violation<'_>) -> String {
    let mut text = Parts::default();
    text.add(violation.srcname.map(|source| format!("{} ->", safe(source))));
    text.add(violation.name.map(safe));
    text.add(violation.target.map(|target| format!("-> {}", safe(target))));
    text.add(violation.fstype.map(|fstype| format!("type={}", safe(fstype))));
    text.add(violation.flags.map(|flags| format!("({})", safe(flags))));
    match (violation.capname, violation.capability) {
        (Some(name), _) => text.add(Some(safe(name))),
        (None, number) => text.add(number.map(|number| format!("capability {number}"))),
    }
    text.add(violation.family.map(safe));
    text.add(violation.sock_type.map(safe));
    text.add(address(violation.laddr, violation.lport));
    text.add(address(violation.faddr, violation.fport).map(|address| format!("-> {address}")));
    text.add(violation.signal.map(safe));
    text.add(violation.rlimit.map(safe));
    text.add(violation.value.map(|value| format!("= {value}")));
    text.add(violation.denied_mask.or(violation.requested_mask).map(safe));
    if violation.class == Class::Dbus {
        for (key, value) in violation.others {
            text.add(Some(format!("{}={}", safe(key), safe(value))));
        }
    }
    text.add(violation.peer.map(|peer| format!("peer={}", safe(peer))));
    text.add(violation.info.map(|info| format!("[{}]", safe(info))));
    text.0
}

/// `10.0.0.1:80`, `[::1]:80`, `:80`, `10.0.0.1`.
fn address(host: Option<&[u8]>, port: Option<u16>) -> Option<String> {
    let host = host.map(safe).map(|host| if host.contains(':') { format!("[{host}]").into() } else { host });
    match (host, port) {
        (None, None) => None,
        (host, None) => host.map(Cow::into_owned),
        (host, Some(port)) => Some(format!("{}:{port}", host.unwrap_or_default())),
    }
}

fn safe(bytes: &[u8]) -> Cow<'_, str> {
    escape(bytes, VALUE_LIMIT)
}

/// Words with one space between them.
#[derive(Default)]
struct Parts(String);

impl Parts {
    fn add(&mut self, part: Option<impl Display>) {
        let Some(part) = part else { return };
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // Writing to a String cannot fail.
        let _ = fmt::write(&mut self.0, format_args!("{part}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Origin, Verdict};

    #[test]
    fn each_class_shows_what_a_rule_would_name() {
        let base = |class| Violation::new(Verdict::Denied, class, Origin::Netlink, b"x");
        for (violation, want) in [
            (
                Violation {
                    name: Some(b"/etc/shadow"),
                    requested_mask: Some(b"rw"),
                    denied_mask: Some(b"w"),
                    ..base(Class::File)
                },
                "/etc/shadow w",
            ),
            (
                Violation {
                    name: Some(b"/a"),
                    target: Some(b"/b"),
                    denied_mask: Some(b"l"),
                    ..base(Class::Link)
                },
                "/a -> /b l",
            ),
            (
                Violation { capability: Some(12), capname: Some(b"net_admin"), ..base(Class::Capability) },
                "net_admin",
            ),
            (Violation { capability: Some(63), ..base(Class::Capability) }, "capability 63"),
            (
                Violation {
                    family: Some(b"inet6"),
                    sock_type: Some(b"stream"),
                    laddr: Some(b"::1"),
                    lport: Some(80),
                    fport: Some(443),
                    denied_mask: Some(b"connect"),
                    ..base(Class::Network)
                },
                "inet6 stream [::1]:80 -> :443 connect",
            ),
            (
                Violation {
                    signal: Some(b"term"),
                    denied_mask: Some(b"receive"),
                    peer: Some(b"runc"),
                    ..base(Class::Signal)
                },
                "term receive peer=runc",
            ),
            (
                Violation {
                    srcname: Some(b"/dev/sda"),
                    name: Some(b"/mnt/"),
                    fstype: Some(b"ext4"),
                    flags: Some(b"rw, nosuid"),
                    info: Some(b"failed type match"),
                    ..base(Class::Mount)
                },
                "/dev/sda -> /mnt/ type=ext4 (rw, nosuid) [failed type match]",
            ),
            (
                Violation { rlimit: Some(b"nofile"), value: Some(4096), ..base(Class::Rlimit) },
                "nofile = 4096",
            ),
            (
                Violation { others: &[(b"bus", b"system"), (b"member", b"\x1b[2J")], ..base(Class::Dbus) },
                r"bus=system member=\x1b[2J",
            ),
            (base(Class::Userns), ""),
        ] {
            assert_eq!(detail(&violation), want);
        }
    }
}
