//! A rule of a profile: what it grants, and whether that includes what another one asks for.
//!
//! One type for what the evidence asks for, for what is suggested and for what a profile has already. A
//! condition that is absent means any; a set of words that is empty means all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::glob::{self, Matcher, Variables};

/// A set of words, as in `signal (send receive)`; empty for all of them.
pub(crate) type Words = BTreeSet<String>;

/// A condition on a name.
#[derive(Clone)]
pub(crate) struct Pattern {
    /// As AppArmor reads it, without quotes.
    pub(crate) text: String,
    /// The one name that it matches, when it was made from one.
    pub(crate) name: Option<Vec<u8>>,
    matcher: Option<Arc<Matcher>>,
}

impl Pattern {
    /// Exactly this name.
    pub(crate) fn literal(name: &[u8]) -> Self {
        Self { text: glob::literal(name), name: Some(name.to_owned()), matcher: None }
    }

    /// What a profile's author wrote for paths.
    pub(crate) fn glob(text: &str, variables: &Variables) -> Self {
        let matcher = Matcher::new(text, variables).map(Arc::new);
        Self { text: text.to_owned(), name: None, matcher }
    }

    /// The same of a label or an address.
    pub(crate) fn label(text: &str, variables: &Variables) -> Self {
        let matcher = Matcher::of_label(text, variables).map(Arc::new);
        Self { text: text.to_owned(), name: None, matcher }
    }

    /// Whether all that `other` names is matched. For two patterns that are not the same text, that is not
    /// known and not claimed.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (&other.name, &self.name, &self.matcher) {
            (Some(name), Some(own), _) => name == own,
            (Some(name), None, Some(matcher)) => matcher.matches(name),
            _ => self.text == other.text,
        }
    }

    /// As it stands in a profile.
    pub(crate) fn written(&self) -> String {
        glob::quoted(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// What happens to the profile when a program is executed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exec {
    /// `ix`, `Px`, `Cx`, `Ux`, `pix` and so on, as written.
    pub(crate) how: String,
    /// The profile named by `->`.
    pub(crate) target: Option<String>,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A file: letters of `r w a k l m`, and what executing it does.
    File { path: Pattern, owner: bool, perms: BTreeSet<char>, exec: Option<Exec> },
    /// Linking to one file by the name of another.
    Link { owner: bool, link: Pattern, target: Option<Pattern> },
    /// A capability.
    Capability { name: Option<String> },
    /// A socket.
    Network { access: Words, family: Option<String>, kind: Option<String> },
    /// A unix socket.
    Unix {
        access: Words,
        kind: Option<String>,
        addr: Option<Pattern>,
        peer: Option<Pattern>,
        peer_addr: Option<Pattern>,
    },
    /// A signal.
    Signal { access: Words, set: Words, peer: Option<Pattern> },
    /// Tracing or reading a process.
    Ptrace { access: Words, peer: Option<Pattern> },
    /// `mount`, `remount` or `umount`.
    Mount {
        how: MountKind,
        fstype: Option<Pattern>,
        options: Words,
        source: Option<Pattern>,
        target: Option<Pattern>,
    },
    /// `pivot_root`.
    PivotRoot { old: Option<Pattern>, new: Option<Pattern> },
    /// `set rlimit`; `None` is infinity.
    Rlimit { name: String, value: Option<u64> },
    /// A message on D-Bus, or a name there.
    Dbus { access: Words, conditions: Vec<(String, Pattern)>, peer: Vec<(String, Pattern)> },
    /// A message queue.
    Mqueue { access: Words, kind: Option<String>, name: Option<Pattern> },
    /// Making a user namespace.
    Userns,
    /// io_uring: `sqpoll`, or `override_creds` of a label.
    IoUring { access: Words, label: Option<Pattern> },
    /// Changing to another profile.
    ChangeProfile { target: Option<Pattern> },
    /// `all`: everything that is mediated.
    All,
}

/// The three kinds of rules about mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MountKind {
    Mount,
    Remount,
    Umount,
}

fn includes(all: &Words, some: &Words) -> bool {
    all.is_empty() || !some.is_empty() && all.is_superset(some)
}

fn any_or<T: PartialEq>(own: &Option<T>, other: &Option<T>) -> bool {
    own.is_none() || own == other
}

fn matched(own: &Option<Pattern>, other: &Option<Pattern>) -> bool {
    match (own, other) {
        (None, _) => true,
        (Some(own), Some(other)) => own.covers(other),
        (Some(_), None) => false,
    }
}

impl Rule {
    /// Whether this grants all that `other` asks for.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        use Rule::{
            All, Capability, ChangeProfile, Dbus, File, IoUring, Link, Mount, Mqueue, Network, PivotRoot,
            Ptrace, Rlimit, Signal, Unix, Userns,
        };
        match (self, other) {
            (All, _) | (Userns, Userns) => true,
            (File { .. }, File { .. }) => self.lacks(other).is_some_and(|letters| letters.is_empty()),
            // `l` in a file's letters allows any target of which no more is granted than of the link.
            (
                Link { owner, link, target },
                Link { owner: other_owner, link: other_link, target: other_target },
            ) => (!owner || *other_owner) && link.covers(other_link) && matched(target, other_target),
            (Capability { name }, Capability { name: other }) => any_or(name, other),
            (Network { access, family, kind }, Network { access: a, family: f, kind: k }) => {
                includes(access, a) && any_or(family, f) && any_or(kind, k)
            }
            // A coarse network rule lets all of the family through.
            (Network { access, family, kind }, Unix { kind: k, .. }) => {
                access.is_empty()
                    && family.as_deref().is_none_or(|family| family == "unix")
                    && any_or(kind, k)
            }
            (
                Unix { access, kind, addr, peer, peer_addr },
                Unix { access: a, kind: k, addr: d, peer: p, peer_addr: q },
            ) => {
                includes(access, a)
                    && any_or(kind, k)
                    && matched(addr, d)
                    && matched(peer, p)
                    && matched(peer_addr, q)
            }
            (Signal { access, set, peer }, Signal { access: a, set: s, peer: p }) => {
                includes(access, a) && includes(set, s) && matched(peer, p)
            }
            (Ptrace { access, peer }, Ptrace { access: a, peer: p }) => {
                includes(access, a) && matched(peer, p)
            }
            (
                Mount { how, fstype, options, source, target },
                Mount { how: h, fstype: f, options: o, source: s, target: t },
            ) => {
                how == h
                    && matched(fstype, f)
                    && (options.is_empty() || options == o)
                    && matched(source, s)
                    && matched(target, t)
            }
            (PivotRoot { old, new }, PivotRoot { old: o, new: n }) => matched(old, o) && matched(new, n),
            (Rlimit { name, value }, Rlimit { name: n, value: v }) => {
                name == n && (value.is_none() || v.is_some_and(|v| value.is_some_and(|value| value >= v)))
            }
            (Dbus { access, conditions, peer }, Dbus { access: a, conditions: c, peer: p }) => {
                let all = |own: &[(String, Pattern)], other: &[(String, Pattern)]| {
                    own.iter().all(|(key, own)| {
                        other.iter().any(|(other_key, value)| other_key == key && own.covers(value))
                    })
                };
                includes(access, a) && all(conditions, c) && all(peer, p)
            }
            (Mqueue { access, kind, name }, Mqueue { access: a, kind: k, name: n }) => {
                includes(access, a) && any_or(kind, k) && matched(name, n)
            }
            (IoUring { access, label }, IoUring { access: a, label: l }) => {
                includes(access, a) && matched(label, l)
            }
            (ChangeProfile { target }, ChangeProfile { target: t }) => matched(target, t),
            _ => false,
        }
    }

    /// Of the letters that `other` asks for a file, those that this does not grant; None when it is about
    /// another file. `x` stands for executing it.
    pub(crate) fn lacks(&self, other: &Self) -> Option<BTreeSet<char>> {
        let Self::File { path: other_path, owner: other_owner, perms: asked, exec: asked_exec } = other
        else {
            return None;
        };
        let (path, owner, perms, exec) = match self {
            Self::All => return Some(BTreeSet::new()),
            Self::File { path, owner, perms, exec } => (path, owner, perms, exec),
            _ => return None,
        };
        if *owner && !other_owner || !path.covers(other_path) {
            return None;
        }
        let mut lacks: BTreeSet<char> =
            asked.iter().copied().chain(asked_exec.is_some().then_some('x')).collect();
        lacks.retain(|letter| match letter {
            'x' => exec.is_none(),
            'a' => !perms.contains(&'a') && !perms.contains(&'w'),
            letter => !perms.contains(letter),
        });
        Some(lacks)
    }

    /// Takes `other` in, when one rule can say both and grants no more than the two.
    pub(crate) fn join(&mut self, other: &Self) -> bool {
        use Rule::{Capability, File, IoUring, Mqueue, Network, Ptrace, Rlimit, Signal, Unix};
        match (&mut *self, other) {
            (File { path, owner, perms, exec }, File { path: p, owner: o, perms: m, exec: x }) => {
                if path != p || exec.is_some() && x.is_some() && exec != x {
                    return false;
                }
                *owner &= *o;
                perms.extend(m);
                if exec.is_none() {
                    exec.clone_from(x);
                }
                if perms.contains(&'w') {
                    perms.remove(&'a');
                }
                true
            }
            (Network { access, family, kind }, Network { access: a, family: f, kind: k })
                if family == f && kind == k =>
            {
                unite(access, a);
                true
            }
            (
                Unix { access, kind, addr, peer, peer_addr },
                Unix { access: a, kind: k, addr: d, peer: p, peer_addr: q },
            ) if (&*kind, &*addr, &*peer, &*peer_addr) == (k, d, p, q) => {
                unite(access, a);
                true
            }
            (Signal { access, set, peer }, Signal { access: a, set: s, peer: p })
                if peer == p && (access == a || set == s) =>
            {
                unite(access, a);
                unite(set, s);
                true
            }
            (Ptrace { access, peer }, Ptrace { access: a, peer: p }) if peer == p => {
                unite(access, a);
                true
            }
            (Mqueue { access, kind, name }, Mqueue { access: a, kind: k, name: n })
                if kind == k && name == n =>
            {
                unite(access, a);
                true
            }
            (IoUring { access, label }, IoUring { access: a, label: l }) if label == l => {
                unite(access, a);
                true
            }
            (Rlimit { name, value }, Rlimit { name: n, value: v }) if name == n => {
                *value = value.zip(*v).map(|(a, b)| a.max(b));
                true
            }
            (Capability { name: Some(name) }, Capability { name: Some(other) }) => name == other,
            (own, other) => own == other,
        }
    }
}

fn unite(own: &mut Words, other: &Words) {
    if own.is_empty() || other.is_empty() {
        own.clear();
    } else {
        own.extend(other.iter().cloned());
    }
}
