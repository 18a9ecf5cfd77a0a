//! A rule as it stands in a profile.

use std::fmt::{self, Display, Formatter};

use super::rule::{MountKind, Pattern, Rule, Words};

/// What may be written: the features that a profile's `abi` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Abi {
    /// AppArmor 3.0: files, capabilities, networks by family, signals, ptrace, mounts, D-Bus
    #[default]
    #[value(name = "3.0")]
    V3,
    /// AppArmor 4.0: and user namespaces, message queues, io_uring, and what is done with a socket
    #[value(name = "4.0")]
    V4,
}

impl Abi {
    /// As it stands in a profile.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "3.0",
            Self::V4 => "4.0",
        }
    }

    /// Whether this ABI has a word for the rule.
    pub(crate) fn has(self, rule: &Rule) -> bool {
        self == Self::V4
            || !matches!(rule, Rule::Userns | Rule::Mqueue { .. } | Rule::IoUring { .. } | Rule::All)
    }
}

/// The order in which letters stand.
const LETTERS: [char; 6] = ['m', 'r', 'w', 'a', 'l', 'k'];

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, owner, perms, exec } => {
                let owner = if *owner { "owner " } else { "" };
                write!(f, "{owner}{} ", path.written())?;
                LETTERS
                    .iter()
                    .filter(|letter| perms.contains(letter))
                    .try_for_each(|letter| write!(f, "{letter}"))?;
                if let Some(exec) = exec {
                    write!(f, "{}", exec.how)?;
                    if let Some(target) = &exec.target {
                        write!(f, " -> {}", super::glob::quoted(target))?;
                    }
                }
            }
            Self::Link { owner, link, target } => {
                write!(f, "{}link {}", if *owner { "owner " } else { "" }, link.written())?;
                target.iter().try_for_each(|target| write!(f, " -> {}", target.written()))?;
            }
            Self::Capability { name } => {
                f.write_str("capability")?;
                name.iter().try_for_each(|name| write!(f, " {name}"))?;
            }
            Self::Network { access, family, kind } => {
                f.write_str("network")?;
                words(f, access)?;
                family.iter().chain(kind).try_for_each(|word| write!(f, " {word}"))?;
            }
            Self::Unix { access, kind, addr, peer, peer_addr } => {
                f.write_str("unix")?;
                words(f, access)?;
                kind.iter().try_for_each(|kind| write!(f, " type={kind}"))?;
                condition(f, "addr", addr)?;
                let peer: Vec<_> = [("label", peer), ("addr", peer_addr)]
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value.as_ref()?)))
                    .collect();
                peer_of(f, &peer)?;
            }
            Self::Signal { access, set, peer } => {
                f.write_str("signal")?;
                words(f, access)?;
                if !set.is_empty() {
                    f.write_str(" set=")?;
                    list(f, set, " ")?;
                }
                condition(f, "peer", peer)?;
            }
            Self::Ptrace { access, peer } => {
                f.write_str("ptrace")?;
                words(f, access)?;
                condition(f, "peer", peer)?;
            }
            Self::Mount { how, fstype, options, source, target } => {
                mount(f, *how, fstype, options, source, target)?;
            }
            Self::PivotRoot { old, new } => {
                f.write_str("pivot_root")?;
                condition(f, "oldroot", old)?;
                new.iter().try_for_each(|new| write!(f, " {}", new.written()))?;
            }
            Self::Rlimit { name, value } => {
                write!(f, "set rlimit {name} <= ")?;
                match (name.as_str(), value) {
                    (_, None) => f.write_str("infinity")?,
                    // The kernel counts niceness from 40 (nicest) down to 1; a profile has -20 to 19.
                    ("nice", Some(value)) => write!(f, "{}", 20_i128 - i128::from(*value))?,
                    (_, Some(value)) => write!(f, "{value}")?,
                }
            }
            Self::Dbus { access, conditions, peer } => {
                f.write_str("dbus")?;
                words(f, access)?;
                conditions.iter().try_for_each(|(key, value)| write!(f, " {key}={}", value.written()))?;
                let peer: Vec<_> = peer.iter().map(|(key, value)| (key.as_str(), value)).collect();
                peer_of(f, &peer)?;
            }
            Self::Mqueue { access, kind, name } => {
                f.write_str("mqueue")?;
                words(f, access)?;
                kind.iter().try_for_each(|kind| write!(f, " type={kind}"))?;
                name.iter().try_for_each(|name| write!(f, " {}", name.written()))?;
            }
            Self::Userns => f.write_str("userns create")?,
            Self::IoUring { access, label } => {
                f.write_str("io_uring")?;
                words(f, access)?;
                condition(f, "label", label)?;
            }
            Self::ChangeProfile { target } => {
                f.write_str("change_profile")?;
                target.iter().try_for_each(|target| write!(f, " -> {}", target.written()))?;
            }
            Self::All => f.write_str("all")?,
        }
        f.write_str(",")
    }
}

/// A mount. A change of propagation and a remount have no source.
fn mount(
    f: &mut Formatter<'_>,
    how: MountKind,
    fstype: &Option<Pattern>,
    options: &Words,
    source: &Option<Pattern>,
    target: &Option<Pattern>,
) -> fmt::Result {
    f.write_str(match how {
        MountKind::Mount => "mount",
        MountKind::Remount => "remount",
        MountKind::Umount => "umount",
    })?;
    fstype.iter().try_for_each(|fstype| write!(f, " fstype=({})", fstype.written()))?;
    if !options.is_empty() {
        f.write_str(" options=")?;
        list(f, options, ", ")?;
    }
    source.iter().try_for_each(|source| write!(f, " {}", source.written()))?;
    target.iter().try_for_each(|target| {
        write!(f, " {}{}", if how == MountKind::Mount { "-> " } else { "" }, target.written())
    })
}

fn condition(f: &mut Formatter<'_>, key: &str, value: &Option<Pattern>) -> fmt::Result {
    value.iter().try_for_each(|value| write!(f, " {key}={}", value.written()))
}

fn peer_of(f: &mut Formatter<'_>, conditions: &[(&str, &Pattern)]) -> fmt::Result {
    if conditions.is_empty() {
        return Ok(());
    }
    f.write_str(" peer=(")?;
    for (number, (key, value)) in conditions.iter().enumerate() {
        write!(f, "{}{key}={}", if number > 0 { " " } else { "" }, value.written())?;
    }
    f.write_str(")")
}

fn words(f: &mut Formatter<'_>, words: &Words) -> fmt::Result {
    if words.is_empty() {
        return Ok(());
    }
    f.write_str(" ")?;
    list(f, words, " ")
}

fn list(f: &mut Formatter<'_>, words: &Words, separator: &str) -> fmt::Result {
    f.write_str("(")?;
    for (number, word) in words.iter().enumerate() {
        write!(f, "{}{word}", if number > 0 { separator } else { "" })?;
    }
    f.write_str(")")
}
