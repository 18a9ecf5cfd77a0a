//! Violations that a user process reports, and which of them to believe.
//!
//! AppArmor mediates D-Bus in the bus daemons, which report by audit records of type 1107 or, without
//! auditing, to syslog. Anyone with CAP_AUDIT_WRITE, which container runtimes give by default, can write such
//! a record; only what stands before `msg=` is the kernel's word.

use bumpalo::Bump;

use super::fields::Scanner;
use super::parse::{number, text_of};
use super::violation::Class;

/// A user process that reported a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender<'a> {
    /// Its program, by its own word: the path in an audit record, the name in syslog.
    pub program: Option<&'a [u8]>,
    /// Its process id, by the kernel's or the journal's word.
    pub pid: Option<u32>,
    /// Its user id, by the kernel's or the journal's word.
    pub uid: Option<u32>,
    /// The label that confines it, by the kernel's word.
    pub subject: Option<&'a [u8]>,
}

impl<'a> Sender<'a> {
    /// Reads what the kernel wrote about the sender of a 1107 record, before `msg=`.
    pub(crate) fn read(outer: &'a [u8], arena: &'a Bump) -> Self {
        let mut sender = Self::default();
        let id = |text: &[u8]| number(text).and_then(|id| u32::try_from(id).ok());
        for field in Scanner::new(outer) {
            let text = text_of(field.value, arena);
            match field.key {
                b"pid" => sender.pid = sender.pid.or(id(text)),
                b"uid" => sender.uid = sender.uid.or(id(text)),
                b"subj" if text != b"?" => sender.subject = sender.subject.or(Some(text)),
                _ => {}
            }
        }
        sender
    }

    /// The last part of the program's path.
    pub fn program_name(&self) -> Option<&'a [u8]> {
        self.program.and_then(|path| path.rsplit(|&byte| byte == b'/').next())
    }
}

/// Which user processes are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Senders {
    /// Names of programs.
    pub programs: Vec<String>,
    /// User ids; None believes every user.
    pub uids: Option<Vec<u32>>,
}

impl Senders {
    /// The programs that report violations of their own.
    pub const PROGRAMS: [&str; 5] = ["dbus", "dbus-broker", "dbus-broker-launch", "dbus-daemon", "systemd"];

    /// For live sources: these users and [`Self::PROGRAMS`].
    pub fn of_users(uids: Vec<u32>) -> Self {
        Self { uids: Some(uids), ..Self::by_program() }
    }

    /// For files, whose word is taken: [`Self::PROGRAMS`] of any user.
    pub fn by_program() -> Self {
        Self { programs: Self::PROGRAMS.map(str::to_owned).to_vec(), uids: None }
    }

    /// Whether what `sender` says about a violation of `class` is believed: only what a bus daemon mediates
    /// itself, only from a named program of a named user, and never from a confined process, which is how
    /// one that forges records from a container gives itself away.
    pub fn believe(&self, sender: &Sender<'_>, class: Class) -> bool {
        let named = match sender.program_name() {
            Some(name) => self.programs.iter().any(|program| program.as_bytes() == name),
            // A bus daemon's report can have a newline in it; a file that was cut there lost the name.
            None => self.uids.is_none(),
        };
        let user = match (&self.uids, sender.uid) {
            (None, _) => true,
            (Some(uids), Some(uid)) => uids.contains(&uid),
            (Some(_), None) => false,
        };
        let free = self.uids.is_none() || sender.subject.is_none_or(|label| label == b"unconfined");
        class == Class::Dbus && named && user && free
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, ParseError, parse_message};
    use super::*;

    #[test]
    fn believes_bus_daemons_only() {
        let dbus = r#"apparmor="DENIED" operation="dbus_method_call"  bus="system" member="Hello" mask="send" pid=77 label="p" peer_label="unconfined""#;
        let tail = r#"exe="/usr/bin/dbus-daemon" sauid=103 hostname=? addr=? terminal=?"#;
        let outer = "pid=363 uid=103 auid=4294967295 ses=4294967295 subj=unconfined";
        let live = Senders::of_users(vec![0, 103]);
        let believed = Ok(());
        let not = Err(ParseError::Untrusted);
        let rows: &[(&str, String, &Senders, Result<(), ParseError>)] = &[
            ("the system bus", format!("{outer} msg='{dbus}  {tail}'"), &live, believed),
            ("a newline in it", format!("{outer} msg='{dbus}\n  {tail}'"), &live, believed),
            (
                "no label, auditing of labels off",
                format!("pid=1 uid=0 auid=0 ses=1  msg='{dbus} {tail}'"),
                &live,
                believed,
            ),
            ("another user", format!("{} msg='{dbus} {tail}'", outer.replace("103", "1000")), &live, not),
            ("no user", format!("pid=1 msg='{dbus} {tail}'"), &live, not),
            (
                "from a container",
                format!("{} msg='{dbus} {tail}'", outer.replace("unconfined", "docker-default")),
                &live,
                not,
            ),
            ("another program", format!("{outer} msg='{dbus} exe=\"/tmp/x\"'"), &live, not),
            ("a program that hides", format!("{outer} msg='{dbus}'"), &live, not),
            ("a second exe in front", format!("{outer} msg='exe=\"/tmp/x\" {dbus} {tail}'"), &live, not),
            ("a uid in the message", format!("pid=1 msg='uid=0 {dbus} {tail}'"), &live, not),
            (
                "about a file",
                format!("{outer} msg='{} {tail}'", dbus.replace("dbus_method_call", "open")),
                &live,
                not,
            ),
            (
                "with a class that is not its own",
                format!("{outer} msg='class=\"file\" {dbus} {tail}'"),
                &live,
                not,
            ),
            (
                "in a file, any user",
                format!("{} msg='{dbus} {tail}'", outer.replace("103", "1000")),
                &Senders::by_program(),
                believed,
            ),
            ("in a file, cut", format!("{outer} msg='{dbus}"), &Senders::by_program(), believed),
            (
                "in a file, about a file",
                format!("{outer} msg='{}'", dbus.replace("dbus_method_call", "open")),
                &Senders::by_program(),
                not,
            ),
            (
                "SELinux's",
                format!("{outer} msg='avc:  denied  {{ start }}'"),
                &live,
                Err(ParseError::NotAppArmor),
            ),
            ("no message", outer.to_owned(), &live, Err(ParseError::NotAppArmor)),
        ];
        for (name, body, senders, want) in rows {
            let arena = Bump::new();
            let payload = format!("audit(1.002:3): {body}");
            let parsed = parse_message(1107, payload.as_bytes(), Origin::Netlink, senders, &arena);
            assert_eq!(parsed.map(|_| ()), *want, "{name}");
        }
    }

    #[test]
    fn tells_the_sender_from_the_subject() {
        let payload = br#"audit(1.002:3): pid=363 uid=103 auid=1 ses=1 subj=unconfined msg='apparmor="DENIED" operation="dbus_signal" pid=77 label="p" exe="/usr/bin/dbus-daemon" sauid=103 hostname=? addr=? terminal=?'"#;
        let arena = Bump::new();
        let senders = Senders::of_users(vec![103]);
        let violation = parse_message(1107, payload, Origin::Netlink, &senders, &arena).unwrap();
        assert_eq!((violation.pid, violation.profile), (Some(77), Some(&b"p"[..])));
        let want = Sender {
            program: Some(b"/usr/bin/dbus-daemon"),
            pid: Some(363),
            uid: Some(103),
            subject: Some(b"unconfined"),
        };
        assert_eq!(violation.sender, Some(&want));
        assert!(violation.others.is_empty(), "what libaudit adds is the sender: {:?}", violation.others);
    }
}
