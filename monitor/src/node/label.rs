//! A label as AppArmor writes it: which profile, in which mode.

use bstr::ByteSlice as _;

/// How a profile treats what it does not grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Refuses it.
    Enforce,
    /// Reports it.
    Complain,
    /// Refuses it and kills the process.
    Kill,
    /// Asks a user (Ubuntu's kernels, and AppArmor 4).
    Prompt,
    /// Grants everything: a profile with `flags=(unconfined)`, or no profile at all.
    Unconfined,
    /// The profiles of a stack differ.
    Mixed,
}

impl Mode {
    /// All modes, in the order in which they are declared.
    pub const ALL: [Self; 6] =
        [Self::Enforce, Self::Complain, Self::Kill, Self::Prompt, Self::Unconfined, Self::Mixed];

    /// The kernel's word (`aa_profile_mode_names`, security/apparmor/policy.c), which is also the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Complain => "complain",
            Self::Kill => "kill",
            Self::Prompt => "prompt",
            Self::Unconfined => "unconfined",
            Self::Mixed => "mixed",
        }
    }

    fn parse(word: &[u8]) -> Option<Self> {
        // "user" is what 6.x kernels call prompt.
        let word = if word == b"user" { b"prompt" } else { word };
        Self::ALL.into_iter().find(|mode| mode.as_str().as_bytes() == word)
    }
}

/// A label with its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// `web`, `web//child`, `a//&b`, `:namespace://web`, `unconfined`.
    pub name: Box<[u8]>,
    /// How it treats what it does not grant.
    pub mode: Mode,
}

impl Label {
    /// Reads `name (mode)`, as `attr/current` and the list of profiles have it, or `unconfined`.
    ///
    /// Names may hold spaces and parentheses, so the mode is what follows the last ` (`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_end_with(|end| matches!(end, '\0' | '\n'));
        if text == b"unconfined" {
            return Some(Self { name: text.into(), mode: Mode::Unconfined });
        }
        let inner = text.strip_suffix(b")")?;
        let split = inner.rfind(b" (")?;
        let (name, mode) = (inner.get(..split)?, inner.get(split + 2..)?);
        let mode = Mode::parse(mode)?;
        (!name.is_empty()).then(|| Self { name: name.into(), mode })
    }

    /// Whether no profile confines what has this label.
    pub fn is_unconfined(&self) -> bool {
        &*self.name == b"unconfined"
    }

    /// The profiles that make up a stack; one for any other label.
    pub fn profiles(&self) -> impl Iterator<Item = &[u8]> {
        self.name.split_str("//&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_split_at_its_last_parenthesis() {
        let label = |name: &str, mode| Some(Label { name: name.as_bytes().into(), mode });
        for (name, text, want) in [
            ("plain", "web (enforce)\n", label("web", Mode::Enforce)),
            ("complain", "web (complain)", label("web", Mode::Complain)),
            ("kill", "web (kill)", label("web", Mode::Kill)),
            ("prompt", "web (prompt)", label("web", Mode::Prompt)),
            ("prompt on 6.x", "web (user)", label("web", Mode::Prompt)),
            ("mixed stack", "a//&b (mixed)", label("a//&b", Mode::Mixed)),
            ("flags=(unconfined)", "chrome (unconfined)", label("chrome", Mode::Unconfined)),
            ("no profile", "unconfined\n", label("unconfined", Mode::Unconfined)),
            ("no profile, with NUL", "unconfined\0", label("unconfined", Mode::Unconfined)),
            ("spaces and parentheses", "my (odd) web (enforce)", label("my (odd) web", Mode::Enforce)),
            ("looks like a mode", "web (complain) (enforce)", label("web (complain)", Mode::Enforce)),
            ("namespace", ":lxd://web (enforce)", label(":lxd://web", Mode::Enforce)),
            ("path and child", "/usr/bin/a//b (complain)", label("/usr/bin/a//b", Mode::Complain)),
            ("no mode", "web", None),
            ("a mode to come", "web (strict)", None),
            ("no name", " (enforce)", None),
            ("empty", "", None),
            ("cut off", "web (enfor", None),
        ] {
            assert_eq!(Label::parse(text.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn a_stack_has_its_profiles() {
        for (name, want) in [("a", vec!["a"]), ("a//&:n://b//&c//d", vec!["a", ":n://b", "c//d"])] {
            let label = Label { name: name.as_bytes().into(), mode: Mode::Enforce };
            let profiles: Vec<_> = label.profiles().map(|one| one.to_str_lossy().into_owned()).collect();
            assert_eq!(profiles, want, "{name}");
        }
    }
}
