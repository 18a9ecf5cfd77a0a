//! A violation as the kernel would have written it: what the tests, the fuzzers and the benchmark feed the
//! parser with.

use std::io::Write as _;

use super::violation::{Class, Verdict, Violation};

/// Writes the payload of an audit record that parses to `violation`: all that the record says, and nothing
/// that other sources add (task, sender, companions, node).
pub fn format(violation: &Violation<'_>) -> Vec<u8> {
    let v = violation;
    let id = v.audit_id.map_or_else(|| "0.000:0".to_owned(), |id| id.to_string());
    let mut record = Record(format!("audit({id}):").into_bytes());
    record.quoted("apparmor", Some(verdict(v.verdict)));
    record.quoted("operation", Some(v.operation).filter(|operation| !operation.is_empty()));
    record.quoted("class", class(v.class));
    record.quoted("info", v.info);
    record.number("error", v.error);
    record.untrusted("namespace", v.namespace);
    record.untrusted("profile", v.profile);
    record.untrusted("name", v.name);
    record.number("pid", v.pid);
    record.untrusted("comm", v.comm);
    record.number("capability", v.capability);
    record.untrusted("capname", v.capname);
    record.quoted("laddr", v.laddr);
    record.number("lport", v.lport);
    record.quoted("faddr", v.faddr);
    record.number("fport", v.fport);
    record.quoted("family", v.family);
    record.quoted("sock_type", v.sock_type);
    record.number("protocol", v.protocol);
    record.quoted("rlimit", v.rlimit);
    record.number("value", v.value);
    record.quoted("requested_mask", v.requested_mask);
    record.quoted("denied_mask", v.denied_mask);
    record.quoted("signal", v.signal);
    record.number("fsuid", v.fsuid);
    record.number("ouid", v.ouid);
    record.untrusted("target", v.target);
    record.untrusted("peer", v.peer);
    record.untrusted("fstype", v.fstype);
    record.untrusted("srcname", v.srcname);
    record.quoted("flags", v.flags);
    let (paths, others): (Vec<_>, Vec<_>) = v.others.iter().partition(|(key, _)| *key == b"execpath");
    for (key, value) in others {
        record.other(key, value);
    }
    for (_, path) in paths {
        record.raw("execpath", path);
    }
    record.0
}

/// A record in the making.
struct Record(Vec<u8>);

impl Record {
    fn key(&mut self, key: impl AsRef<[u8]>) {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_ref());
        self.0.push(b'=');
    }

    fn number(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.key(key);
            // Writing to a Vec cannot fail.
            let _ = write!(self.0, "{value}");
        }
    }

    fn raw(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(value);
        self.0.push(b'"');
    }

    /// A value that the kernel puts between quotes as it is. One with a quote in it was not in quotes.
    fn quoted(&mut self, key: impl AsRef<[u8]>, value: Option<&[u8]>) {
        match value {
            Some(value) if value.contains(&b'"') => {
                self.key(key);
                self.0.extend_from_slice(value);
            }
            Some(value) => self.raw(key, value),
            None => {}
        }
    }

    /// A value that the kernel writes with `audit_log_untrustedstring`.
    fn untrusted(&mut self, key: impl AsRef<[u8]>, value: Option<&[u8]>) {
        match value {
            Some(value) if value.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'"') => {
                self.raw(key, value);
            }
            Some(value) => {
                self.key(key);
                for byte in value {
                    let _ = write!(self.0, "{byte:02X}");
                }
            }
            None => {}
        }
    }

    fn other(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"trans" | b"options" | b"ocomm" | b"exe" | b"path" => self.untrusted(key, Some(value)),
            _ => self.quoted(key, Some(value)),
        }
    }
}

const fn verdict(verdict: Verdict) -> &'static [u8] {
    match verdict {
        Verdict::Denied => b"DENIED",
        Verdict::Allowed => b"ALLOWED",
        Verdict::Audit => b"AUDIT",
        Verdict::Killed => b"KILLED",
        Verdict::Hint => b"HINT",
        Verdict::Status => b"STATUS",
        Verdict::Error => b"ERROR",
    }
}

/// The kernel's word for a class. It has none for policy, and this one is nobody's for what is not known.
const fn class(class: Class) -> Option<&'static [u8]> {
    let word: &[u8] = match class {
        Class::File | Class::Exec | Class::Link => b"file",
        Class::Mount => b"mount",
        Class::Capability => b"cap",
        Class::Network | Class::Unix => b"net",
        Class::Signal => b"signal",
        Class::Ptrace => b"ptrace",
        Class::Rlimit => b"rlimits",
        Class::Mqueue => b"posix_mqueue",
        Class::IoUring => b"io_uring",
        Class::Userns => b"namespace",
        Class::Dbus => b"dbus",
        Class::ChangeProfile => b"domain",
        Class::Policy => return None,
        Class::Other => b"other",
    };
    Some(word)
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use proptest::prelude::*;

    use super::super::{Origin, Senders, parse_message};
    use super::*;

    const CORPORA: [&str; 2] = [
        include_str!("../../../tests/fixtures/wire/6.1.txt"),
        include_str!("../../../tests/fixtures/wire/7.3.txt"),
    ];

    fn parse<'a>(payload: &'a [u8], arena: &'a Bump) -> Option<Violation<'a>> {
        let senders = Senders::of_users(vec![0]);
        parse_message(1400, payload, Origin::Netlink, &senders, arena).ok().cloned()
    }

    /// What is read is written and read again, and nothing changed but that a cut line is whole now.
    fn check(payload: &[u8]) {
        let arena = Bump::new();
        let Some(first) = parse(payload, &arena) else { return };
        let written = format(&first);
        if matches!(written.last(), Some(b'\0' | b'\r')) {
            // At the end these belong to the socket or the file, not to the record.
            return;
        }
        let second = parse(&written, &arena);
        // A path that is not escaped is written last, wherever it was.
        fn sorted<'a>(violation: &Violation<'a>) -> Vec<(&'a [u8], &'a [u8])> {
            let mut others = violation.others.to_vec();
            others.sort_unstable();
            others
        }
        assert_eq!(second.as_ref().map(sorted), Some(sorted(&first)), "{}", payload.escape_ascii());
        let first = Violation { truncated: false, others: &[], ..first };
        let second = second.map(|second| Violation { truncated: false, others: &[], ..second });
        assert!(second == Some(first), "\n{}\n{}", payload.escape_ascii(), written.escape_ascii());
    }

    /// Text made of what the parser looks for.
    fn record_like() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            " ",
            "=",
            "\"",
            "\n",
            "\u{1d}",
            "'",
            "(null)",
            "?",
            "none",
            "2F78",
            "2f",
            "-1",
            "-13",
            "4294967296",
            "unix",
            "DENIED",
            "STATUS",
            "apparmor=",
            "operation=",
            "class=",
            "name=",
            "profile=",
            "pid=",
            "fsuid=",
            "error=",
            "execpath=\"",
            "FSUID=\"x\"",
            "x=",
            "a_long_key_of_its_own=",
            "capname=",
            "capable",
            "exec",
            "file",
            "net",
            "family=\"unix\"",
            "profile_load",
            "trans=",
            "label=",
            "peer_label=",
            "é",
        ];
        let word = prop_oneof![
            prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        prop::collection::vec(word, 0..40).prop_map(|words| {
            [b"audit(1.002:3): apparmor=\"DENIED\" operation=\"open\" ".to_vec(), words.concat()].concat()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_can_be_written_and_read_again(payload in record_like()) {
            check(&payload);
        }

        #[test]
        fn any_string_can_be_a_name(
            name in prop::collection::vec(any::<u8>(), 0..64),
            profile in prop::collection::vec(any::<u8>(), 0..64),
            fsuid in any::<u32>(),
        ) {
            let violation = Violation {
                name: Some(&name),
                profile: Some(&profile),
                fsuid: Some(fsuid),
                ..Violation::new(Verdict::Denied, Class::File, Origin::Netlink, b"open")
            };
            let arena = Bump::new();
            let written = format(&violation);
            let read = parse(&written, &arena).unwrap();
            // A string of no bytes in hex is no string, but the kernel writes that in quotes.
            prop_assert_eq!(read.name, violation.name);
            prop_assert_eq!(read.profile, violation.profile);
            prop_assert_eq!(read.fsuid, violation.fsuid);
        }
    }

    #[test]
    fn records_of_real_kernels_can_be_written_and_read_again() {
        let mut records = 0;
        for line in CORPORA.iter().flat_map(|corpus| corpus.lines()) {
            if let Some(payload) = line.strip_prefix("audit ") {
                records += 1;
                let arena = Bump::new();
                let violation = parse(payload.as_bytes(), &arena).unwrap_or_else(|| panic!("{payload}"));
                assert_ne!(violation.class, Class::Other, "{payload}");
                check(payload.as_bytes());
            }
        }
        assert!(records > 100, "the corpus is there");
    }
}
