//! Whether a process runs under what its container asked for.

use std::borrow::Cow;
use std::str::FromStr;

use bstr::ByteSlice as _;
use serde::{Serialize, Serializer};
use wildmatch::WildMatch;

use super::requested::Requested;
use crate::node::label::Label;

/// What the runtimes call their default profile: containerd, CRI-O, Docker, Podman and CRI-O by containers/common
/// (with its version), nerdctl.
const DEFAULTS: &str =
    "cri-containerd.apparmor.d,crio-default,docker-default,containers-default-*,nerdctl-default";

/// More than a node has runtimes.
const PATTERNS_LIMIT: usize = 64;

/// The names that the runtime's default profile may have on this node: patterns with commas between them.
#[derive(Clone, Debug)]
pub struct RuntimeDefaults {
    text: String,
    patterns: Vec<WildMatch>,
}

impl RuntimeDefaults {
    fn include(&self, profile: &[u8]) -> bool {
        let profile = profile.to_str_lossy();
        self.patterns.iter().any(|pattern| pattern.matches(&profile))
    }

    fn of(text: &str) -> Self {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Self { text: text.to_owned(), patterns: words.take(PATTERNS_LIMIT).map(WildMatch::new).collect() }
    }
}

impl Default for RuntimeDefaults {
    fn default() -> Self {
        Self::of(DEFAULTS)
    }
}

impl FromStr for RuntimeDefaults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let defaults = Self::of(text);
        if defaults.patterns.is_empty() {
            return Err("expected the name of a profile, or several with commas between them".to_owned());
        }
        Ok(defaults)
    }
}

impl PartialEq for RuntimeDefaults {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RuntimeDefaults {}

impl Serialize for RuntimeDefaults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Whether `applied` is what `requested` stands for.
///
/// The mode does not matter: it is the profile's, not the pod's. Of a stack one profile has to be the one; of a
/// profile its children and hats are it, because only its own rules lead there. Who asked for nothing, or
/// for nonsense, cannot be disappointed.
pub fn is_as_asked(requested: &Requested, applied: &Label, defaults: &RuntimeDefaults) -> bool {
    match requested {
        Requested::Nothing | Requested::Invalid(_) => true,
        Requested::Unconfined => applied.is_unconfined(),
        Requested::RuntimeDefault => applied.profiles().any(|profile| defaults.include(base(profile))),
        Requested::Localhost(name) => {
            let name = canonical(name);
            applied.profiles().any(|profile| is_or_is_below(profile, name.as_bytes()))
        }
    }
}

/// `:namespace:profile` is the same as `:namespace://profile`, which is how the kernel writes it.
pub fn canonical(name: &str) -> Cow<'_, str> {
    match name.strip_prefix(':').and_then(|rest| rest.split_once(':')) {
        Some((namespace, profile)) if !profile.starts_with("//") => {
            format!(":{namespace}://{profile}").into()
        }
        _ => name.into(),
    }
}

fn is_or_is_below(profile: &[u8], name: &[u8]) -> bool {
    profile.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"//"))
}

/// A profile without its children and hats.
fn base(profile: &[u8]) -> &[u8] {
    // A namespace's own slashes are not a child's.
    let start = if profile.starts_with(b":") { profile.find(b"://").map_or(0, |at| at + 3) } else { 0 };
    let end = profile.get(start..).and_then(|rest| rest.find(b"//")).map_or(profile.len(), |at| start + at);
    profile.get(..end).unwrap_or(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_held_against_what_was_asked() {
        let localhost = |name: &str| Requested::Localhost(name.into());
        for (name, requested, applied, want) in [
            ("its profile", localhost("web"), "web (enforce)", true),
            ("in complain mode", localhost("web"), "web (complain)", true),
            ("another profile", localhost("web"), "webster (enforce)", false),
            ("a prefix", localhost("webster"), "web (enforce)", false),
            ("unconfined instead", localhost("web"), "unconfined", false),
            ("the default instead", localhost("web"), "cri-containerd.apparmor.d (enforce)", false),
            ("a child", localhost("web"), "web//worker (enforce)", true),
            ("a learning child", localhost("web"), "web//null-/bin/sh (complain)", true),
            ("a child was asked for", localhost("web//worker"), "web (enforce)", false),
            ("in a stack", localhost("web"), "lxd//&web (enforce)", true),
            ("not in a stack", localhost("web"), "lxd//&shop (mixed)", false),
            ("in a namespace", localhost("web"), ":lxd://web (enforce)", false),
            ("a namespace was asked for", localhost(":lxd:web"), ":lxd://web (enforce)", true),
            ("in the kernel's words", localhost(":lxd://web"), ":lxd://web (enforce)", true),
            ("a name with a mode in it", localhost("web (complain)"), "web (complain) (enforce)", true),
            ("containerd's", Requested::RuntimeDefault, "cri-containerd.apparmor.d (enforce)", true),
            ("CRI-O's", Requested::RuntimeDefault, "crio-default (enforce)", true),
            ("Podman's", Requested::RuntimeDefault, "containers-default-0.57.4 (enforce)", true),
            ("Docker's, a child", Requested::RuntimeDefault, "docker-default//x (enforce)", true),
            ("somebody's", Requested::RuntimeDefault, "my-default (enforce)", false),
            ("no default", Requested::RuntimeDefault, "unconfined", false),
            ("nothing", Requested::Unconfined, "unconfined", true),
            ("something", Requested::Unconfined, "web (enforce)", false),
            ("a profile that grants all", Requested::Unconfined, "chrome (unconfined)", false),
            ("nothing was asked for", Requested::Nothing, "unconfined", true),
        ] {
            let applied = Label::parse(applied.as_bytes()).unwrap();
            assert_eq!(is_as_asked(&requested, &applied, &RuntimeDefaults::default()), want, "{name}");
        }
    }

    #[test]
    fn a_node_may_have_its_own_default() {
        let defaults: RuntimeDefaults = "site-*, other".parse().unwrap();
        for (applied, want) in [("site-default (enforce)", true), ("crio-default (enforce)", false)] {
            let applied = Label::parse(applied.as_bytes()).unwrap();
            assert_eq!(is_as_asked(&Requested::RuntimeDefault, &applied, &defaults), want);
        }
    }
}
