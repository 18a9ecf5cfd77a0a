//! From one record to the rule that would allow it.

use super::rule::{Exec, MountKind, Pattern, Rule, Words};
use crate::record::{Class, Violation};

/// What a record asks of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A rule.
    Rule(Rule),
    /// One of the profile's `flags=(..)`, and the rule that is needed then.
    Flag(&'static str, Option<Rule>),
    /// A hat of this name.
    Hat(String),
    /// Nothing that a rule can say, and why.
    Nothing(&'static str),
}

/// What would allow `violation`. `owner` says whether the file was the process's own each time; `exec` is how
/// programs are to be executed.
pub(crate) fn need(violation: &Violation<'_>, owner: bool, exec: &str) -> Need {
    if !has_words_only(violation) {
        return Need::Nothing("a value that should be a word of the kernel's and is none");
    }
    match violation.class {
        Class::File => file(violation, owner),
        Class::Exec => executed(violation, exec),
        Class::Link => link(violation, owner),
        Class::Capability => match violation.capname {
            Some(name) => Need::Rule(Rule::Capability { name: Some(text(name)) }),
            None => Need::Nothing("a capability that the record does not name"),
        },
        Class::Network => network(violation),
        Class::Unix => unix(violation),
        Class::Signal => Need::Rule(Rule::Signal {
            access: mask(violation),
            set: violation
                .signal
                .map(text)
                .filter(|signal| !signal.starts_with("unknown"))
                .into_iter()
                .collect(),
            peer: peer(violation),
        }),
        Class::Ptrace => Need::Rule(Rule::Ptrace { access: mask(violation), peer: peer(violation) }),
        Class::Mount => mount(violation),
        Class::Rlimit => match violation.rlimit {
            Some(name) => Need::Rule(Rule::Rlimit {
                name: text(name),
                value: violation.value.filter(|value| *value != u64::MAX),
            }),
            None => Need::Nothing("a resource limit that the record does not name"),
        },
        Class::Dbus => dbus(violation),
        Class::Mqueue => mqueue(violation),
        Class::IoUring => Need::Rule(Rule::IoUring { access: mask(violation), label: peer(violation) }),
        Class::Userns => Need::Rule(Rule::Userns),
        Class::ChangeProfile => change(violation),
        Class::Policy | Class::Other => Need::Nothing("no rule is about this class"),
    }
}

/// Whether the values that become words of a rule are words: the kernel has a list of each, but a log can say
/// anything, and what follows a word in a rule is policy.
fn has_words_only(violation: &Violation<'_>) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_+-.()?:".contains(byte);
    let one = [
        violation.rlimit,
        violation.capname,
        violation.family,
        violation.sock_type,
        violation.signal,
        violation.fstype,
    ];
    let several = [violation.requested_mask, violation.denied_mask, violation.flags];
    one.into_iter().flatten().all(|value| value.iter().all(word))
        && several
            .into_iter()
            .flatten()
            .all(|value| value.iter().all(|byte| word(byte) || b" ,".contains(byte)))
}

const NO_FILE: &str = "the record names no file";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A mask of words. Where the kernel could write none, any. A bus daemon calls it `mask`.
fn mask(violation: &Violation<'_>) -> Words {
    let mask = violation.denied_mask.or(violation.requested_mask).or_else(|| other(violation, b"mask"));
    let mask = mask.unwrap_or_default();
    let words = mask.split(|byte| matches!(byte, b' ' | b',')).filter(|word| !word.is_empty());
    words
        .filter(|word| word.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_'))
        .map(text)
        .collect()
}

fn peer(violation: &Violation<'_>) -> Option<Pattern> {
    violation.peer.filter(|peer| !peer.is_empty()).map(Pattern::literal)
}

/// A path that the kernel could not follow to the root has no leading slash. A file that never had a path, as
/// the memory of huge pages, has nothing but the slash, which is left out too.
fn located(violation: &Violation<'_>, rule: impl FnOnce(Pattern) -> Rule) -> Need {
    let Some(name) = violation.name else { return Need::Nothing(NO_FILE) };
    let disconnected = match violation.info {
        Some(b"Failed name lookup - deleted entry") => return Need::Flag("mediate_deleted", None),
        Some(b"Failed name lookup - disconnected path") => true,
        None => !name.is_empty(),
        Some(_) => false,
    };
    match name {
        [b'/', ..] => Need::Rule(rule(Pattern::literal(name))),
        // Attached at the root, where such a path then is looked for.
        _ if disconnected => {
            let attached = [b"/", name].concat();
            Need::Flag("attach_disconnected", Some(rule(Pattern::literal(&attached))))
        }
        [] => Need::Nothing(NO_FILE),
        _ => Need::Nothing("the path is not known"),
    }
}

fn file(violation: &Violation<'_>, owner: bool) -> Need {
    let letters = violation.denied_mask.or(violation.requested_mask).unwrap_or_default();
    let mut perms: std::collections::BTreeSet<char> = letters
        .iter()
        .filter_map(|letter| match letter {
            b'c' | b'd' | b'w' => Some('w'),
            b'r' | b'a' | b'k' | b'l' | b'm' => Some(char::from(*letter)),
            _ => None,
        })
        .collect();
    if perms.contains(&'w') {
        perms.remove(&'a');
    }
    if perms.is_empty() {
        return Need::Nothing("the record does not tell what was done with the file");
    }
    located(violation, |path| Rule::File { path, owner, perms, exec: None })
}

fn executed(violation: &Violation<'_>, how: &str) -> Need {
    let exec = Some(Exec { how: how.to_owned(), target: None });
    located(violation, |path| Rule::File { path, owner: false, perms: Default::default(), exec })
}

/// A link rule says both names; without the second one, the letter l has to do.
fn link(violation: &Violation<'_>, owner: bool) -> Need {
    let target = violation.target.filter(|target| target.starts_with(b"/")).map(Pattern::literal);
    located(violation, |link| match target {
        Some(target) => Rule::Link { owner, link, target: Some(target) },
        None => Rule::File { path: link, owner, perms: ['l'].into(), exec: None },
    })
}

/// The kernel's word for a family or a type that it has no name for is of no use in a profile.
fn known(word: Option<&[u8]>) -> Option<String> {
    word.map(text).filter(|word| !word.starts_with("unknown") && word != "unspec")
}

fn network(violation: &Violation<'_>) -> Need {
    match known(violation.family) {
        Some(family) => {
            let kind = known(violation.sock_type);
            Need::Rule(Rule::Network { access: mask(violation), family: Some(family), kind })
        }
        None => Need::Nothing("a network family that has no name"),
    }
}

fn other<'a>(violation: &Violation<'a>, key: &[u8]) -> Option<&'a [u8]> {
    violation.others.iter().find(|(other, _)| *other == key).map(|(_, value)| *value)
}

/// A rule can say abstract addresses alone. A socket with a path is also a file, and asked for as such.
fn unix(violation: &Violation<'_>) -> Need {
    let address =
        |key| other(violation, key).filter(|address| address.starts_with(b"@")).map(Pattern::literal);
    Need::Rule(Rule::Unix {
        access: mask(violation),
        kind: known(violation.sock_type),
        addr: address(b"addr"),
        peer: peer(violation),
        peer_addr: address(b"peer_addr"),
    })
}

fn mount(violation: &Violation<'_>) -> Need {
    let literal = |name: Option<&[u8]>| name.filter(|name| !name.is_empty()).map(Pattern::literal);
    let (source, target) = (literal(violation.srcname), literal(violation.name));
    if violation.operation == b"pivotroot" {
        return Need::Rule(Rule::PivotRoot { old: source, new: target });
    }
    let mut options: Words = violation
        .flags
        .unwrap_or_default()
        .split(|byte| matches!(byte, b',' | b' '))
        .filter(|word| !word.is_empty())
        .map(text)
        .collect();
    let fstype = literal(violation.fstype);
    let rule = if violation.operation == b"umount" {
        Rule::Mount { how: MountKind::Umount, fstype: None, options: Words::new(), source: None, target }
    } else if options.remove("remount") && !options.contains("bind") {
        Rule::Mount { how: MountKind::Remount, fstype: None, options, source: None, target }
    } else {
        if violation.flags.is_some_and(|flags| flags.ends_with(b"remount") || flags.starts_with(b"remount")) {
            options.insert("remount".to_owned());
        }
        Rule::Mount { how: MountKind::Mount, fstype, options, source, target }
    };
    Need::Rule(rule)
}

fn dbus(violation: &Violation<'_>) -> Need {
    let access = match violation.operation {
        b"dbus_bind" => Words::from(["bind".to_owned()]),
        b"dbus_eavesdrop" => Words::from(["eavesdrop".to_owned()]),
        _ => mask(violation),
    };
    let pairs = |keys: &[(&[u8], &str)]| -> Vec<(String, Pattern)> {
        let value = |(key, word): &(&[u8], &str)| {
            Some(((*word).to_owned(), Pattern::literal(other(violation, key)?)))
        };
        keys.iter().filter_map(value).collect()
    };
    let mut conditions = pairs(&[(b"bus", "bus")]);
    if access.contains("bind") {
        conditions.extend(violation.name.map(|name| ("name".to_owned(), Pattern::literal(name))));
    } else if !access.contains("eavesdrop") {
        conditions.extend(pairs(&[(b"path", "path"), (b"interface", "interface"), (b"member", "member")]));
    }
    let mut to = Vec::new();
    if access.contains("send") || access.contains("receive") {
        // The bus daemon writes the destination's name as the object of the message.
        let name = violation.name.filter(|name| !name.starts_with(b":"));
        to.extend(name.map(|name| ("name".to_owned(), Pattern::literal(name))));
        to.extend(peer(violation).map(|label| ("label".to_owned(), label)));
    }
    Need::Rule(Rule::Dbus { access, conditions, peer: to })
}

fn mqueue(violation: &Violation<'_>) -> Need {
    let letters = mask(violation);
    let word = |letter: char| match letter {
        'r' => Some("read"),
        'w' => Some("write"),
        'c' => Some("create"),
        'd' => Some("delete"),
        'o' => Some("open"),
        _ => None,
    };
    const WORDS: [&str; 7] = ["create", "read", "write", "open", "delete", "getattr", "setattr"];
    let access = if letters.iter().all(|mask| WORDS.contains(&mask.as_str())) {
        letters
    } else {
        letters.iter().flat_map(|mask| mask.chars()).filter_map(word).map(str::to_owned).collect()
    };
    let kind = if violation.operation == b"sysv_mqueue" { "sysv" } else { "posix" };
    let name = violation.name.map(Pattern::literal);
    Need::Rule(Rule::Mqueue { access, kind: Some(kind.to_owned()), name })
}

fn change(violation: &Violation<'_>) -> Need {
    let target = violation.target.or(violation.name).filter(|name| !name.is_empty());
    match (violation.operation, target) {
        (b"change_hat", _) => match violation.name.filter(|name| !name.is_empty()) {
            Some(hat) => Need::Hat(text(hat)),
            None => Need::Nothing("a hat that the record does not name"),
        },
        (b"change_profile" | b"change_onexec", Some(target)) => {
            Need::Rule(Rule::ChangeProfile { target: Some(Pattern::literal(target)) })
        }
        _ => Need::Nothing("a change of profile for which there is no rule of its own"),
    }
}

#[cfg(test)]
#[path = "derive_tests.rs"]
mod tests;
