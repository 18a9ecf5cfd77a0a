//! The loaded profiles: from the kernel's list to counts, names and modes.

use std::collections::BTreeMap;

use bstr::ByteSlice as _;

use crate::node::label::{Label, Mode};

/// No node needs more; snapd and LXD come to a few thousand.
const PROFILES_LIMIT: usize = 16_384;

/// How complain mode's learning profiles are named; nobody loaded them.
const LEARNING: &[u8] = b"//null-";

/// What is loaded at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    profiles: BTreeMap<Box<[u8]>, Mode>,
    /// Lines that say nothing, and profiles past the limit.
    pub left_out: usize,
}

impl Inventory {
    /// Reads the text of `/sys/kernel/security/apparmor/profiles`: a line `name (mode)` for each profile, those
    /// of other policy namespaces as `:namespace://name (mode)` (`seq_show_profile`,
    /// security/apparmor/apparmorfs.c).
    pub fn parse(text: &[u8]) -> Self {
        let mut inventory = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let Some(Label { name, mode }) = Label::parse(line) else {
                inventory.left_out += 1;
                continue;
            };
            if name.find(LEARNING).is_some() {
                continue;
            }
            if inventory.profiles.len() >= PROFILES_LIMIT {
                inventory.left_out += 1;
                continue;
            }
            inventory.profiles.insert(name, mode);
        }
        inventory
    }

    /// The mode of a profile, when it is loaded.
    pub fn mode(&self, profile: &[u8]) -> Option<Mode> {
        self.profiles.get(profile).copied()
    }

    /// All profiles by name.
    pub fn profiles(&self) -> impl Iterator<Item = (&[u8], Mode)> {
        self.profiles.iter().map(|(name, mode)| (&**name, *mode))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether none is loaded.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// How many are in `mode`.
    pub fn count(&self, mode: Mode) -> usize {
        self.profiles.values().filter(|of| **of == mode).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_becomes_names_and_modes() {
        let text = "web (enforce)\nweb//child (enforce)\nmy (odd) name (complain)\n:lxd://web (kill)\n\
                    /usr/bin/man (enforce)\nlearn//null-/bin/sh (complain)\nchrome (unconfined)\n\nbroken line\n";
        let inventory = Inventory::parse(text.as_bytes());
        for (profile, want) in [
            ("web", Some(Mode::Enforce)),
            ("web//child", Some(Mode::Enforce)),
            ("my (odd) name", Some(Mode::Complain)),
            (":lxd://web", Some(Mode::Kill)),
            ("chrome", Some(Mode::Unconfined)),
            ("learn//null-/bin/sh", None),
            ("we", None),
        ] {
            assert_eq!(inventory.mode(profile.as_bytes()), want, "{profile}");
        }
        let counts = Mode::ALL.map(|mode| inventory.count(mode));
        assert_eq!(counts, [3, 1, 1, 0, 1, 0]);
        assert_eq!((inventory.len(), inventory.left_out), (6, 1));
    }

    #[test]
    fn more_than_a_node_needs_is_left_out_and_said() {
        let text: String = (0..PROFILES_LIMIT + 10).map(|number| format!("p{number} (enforce)\n")).collect();
        let inventory = Inventory::parse(text.as_bytes());
        assert_eq!((inventory.len(), inventory.left_out), (PROFILES_LIMIT, 10));
    }

    #[test]
    fn nothing_loaded_is_nothing() {
        assert!(Inventory::parse(b"").is_empty());
    }
}
