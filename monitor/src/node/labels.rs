//! Loaded profiles as labels of the node, so that a node selector can find the nodes that have one.
//!
//! Pure: an inventory and a pattern in, labels out; what to remove is told by the labels that the node has.

use std::collections::BTreeMap;

use bstr::ByteSlice as _;
use serde_json::{Map, Value, json};
use wildmatch::WildMatch;

use super::profiles::Inventory;

/// What the labels begin with. Only labels that do are ever touched.
pub const PREFIX: &str = "apparmor.aa-monitor.io/";

/// A label's name, after its prefix, has 63 characters at most (`qualifiedNameMaxLength`).
const NAME_LIMIT: usize = 63;
/// A node with more labels than this helps no scheduler.
const LABELS_LIMIT: usize = 256;

/// The labels that a node shall have, and how many profiles have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Each with the mode as its value.
    pub labels: BTreeMap<String, &'static str>,
    /// Profiles that match and are too many, or share a name with another.
    pub left_out: usize,
}

/// The labels for the profiles of the host that match `pattern`. Those of other policy namespaces are none that
/// a pod could ask for.
pub fn labels(inventory: &Inventory, pattern: &WildMatch) -> Labels {
    let mut found = Labels::default();
    for (profile, mode) in inventory.profiles() {
        if profile.starts_with(b":") || !pattern.matches(&profile.to_str_lossy()) {
            continue;
        }
        let name = format!("{PREFIX}{}", label_name(profile));
        if found.labels.len() >= LABELS_LIMIT || found.labels.contains_key(&name) {
            found.left_out += 1;
        } else {
            found.labels.insert(name, mode.as_str());
        }
    }
    found
}

/// A profile's name as a label's: itself where that is one; otherwise made to fit, with a hash of the whole at
/// its end, so that two profiles do not become one label.
pub fn label_name(profile: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    if profile.len() <= NAME_LIMIT
        && profile.iter().all(plain)
        && ends(profile.first())
        && ends(profile.last())
    {
        return profile.to_str_lossy().into_owned();
    }
    let hash = format!("{:08x}", hash(profile));
    let made: String = profile.iter().map(|byte| if plain(byte) { char::from(*byte) } else { '_' }).collect();
    let made = made.trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
    let room = NAME_LIMIT - hash.len() - 1;
    let made = made.get(..room.min(made.len())).unwrap_or_default();
    if made.is_empty() { hash } else { format!("{made}-{hash}") }
}

/// The same on every node and in every version: the label is used in node selectors. FNV-1a.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The merge patch that gives a node the labels, and takes those of ours away that it has too many; none when
/// there is nothing to change.
pub fn patch(wanted: &Labels, present: &BTreeMap<String, String>) -> Option<Value> {
    let mut changes = Map::new();
    for (name, value) in &wanted.labels {
        if present.get(name).map(String::as_str) != Some(*value) {
            changes.insert(name.clone(), json!(value));
        }
    }
    for name in present.keys().filter(|name| name.starts_with(PREFIX)) {
        if !wanted.labels.contains_key(name) {
            changes.insert(name.clone(), Value::Null);
        }
    }
    (!changes.is_empty()).then(|| json!({ "metadata": { "labels": changes } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(name: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        (1..=NAME_LIMIT).contains(&name.len())
            && name.bytes().all(plain)
            && ends(name.bytes().next())
            && ends(name.bytes().last())
    }

    #[test]
    fn every_name_is_valid_and_no_two_are_the_same() {
        let long = "x".repeat(200);
        let longer = "x".repeat(201);
        let profiles = [
            "web",
            "web-1.2_3",
            "/usr/bin/man",
            "_usr_bin_man",
            "usr/bin/man",
            "a b",
            "a(b",
            "a//b",
            "-web",
            "web-",
            "…",
            "/",
            "//",
            &long,
            &longer,
            "é",
        ];
        let mut names: Vec<_> = profiles.iter().map(|profile| label_name(profile.as_bytes())).collect();
        for (name, profile) in names.iter().zip(profiles) {
            assert!(is_valid(name), "{profile}: {name}");
        }
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "{names:?}");
    }

    #[test]
    fn a_name_that_is_one_stays_and_another_never_changes() {
        for (profile, want) in [
            ("cri-containerd.apparmor.d", "cri-containerd.apparmor.d"),
            ("/usr/bin/man", "usr_bin_man-002bb7d9"),
        ] {
            assert_eq!(label_name(profile.as_bytes()), want);
        }
    }

    #[test]
    fn what_matches_is_labelled_with_its_mode() {
        let inventory =
            Inventory::parse(b"k8s-web (enforce)\nk8s-db (complain)\nother (kill)\n:lxd://k8s-x (enforce)\n");
        let Labels { labels, left_out } = labels(&inventory, &WildMatch::new("k8s-*"));
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            labels,
            ["apparmor.aa-monitor.io/k8s-db=complain", "apparmor.aa-monitor.io/k8s-web=enforce"]
        );
        assert_eq!(left_out, 0);
    }

    #[test]
    fn too_many_and_the_same_are_left_out() {
        let made = label_name(b"a b");
        let mut text = format!("a b (enforce)\n{made} (enforce)\n");
        for number in 0..LABELS_LIMIT {
            text.push_str(&format!("p{number} (enforce)\n"));
        }
        let Labels { labels, left_out } = labels(&Inventory::parse(text.as_bytes()), &WildMatch::new("*"));
        assert_eq!((labels.len(), left_out), (LABELS_LIMIT, 2));
    }

    #[test]
    fn only_what_differs_is_patched_and_only_what_is_ours_is_removed() {
        let wanted = Labels {
            labels: [("a", "enforce"), ("b", "complain")]
                .map(|(name, mode)| (format!("{PREFIX}{name}"), mode))
                .into(),
            left_out: 0,
        };
        let present = |labels: &[(&str, &str)]| {
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let all = [("apparmor.aa-monitor.io/a", "enforce"), ("apparmor.aa-monitor.io/b", "complain")];
        assert_eq!(patch(&wanted, &present(&all)), None);
        let some = [
            ("apparmor.aa-monitor.io/a", "complain"),
            ("apparmor.aa-monitor.io/old", "enforce"),
            ("kubernetes.io/os", "linux"),
        ];
        let want = json!({ "metadata": { "labels": {
            "apparmor.aa-monitor.io/a": "enforce",
            "apparmor.aa-monitor.io/b": "complain",
            "apparmor.aa-monitor.io/old": null,
        } } });
        assert_eq!(patch(&wanted, &present(&some)), Some(want));
    }
}
