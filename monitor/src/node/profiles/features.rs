//! What this kernel's AppArmor can mediate, and which policy it reads.

use std::fs;
use std::path::Path;

/// More than any kernel has in one folder.
const NAMES_LIMIT: usize = 64;

/// Folders that say how policy is written and asked for, not what is mediated.
const NOT_CLASSES: [&str; 5] = ["capability", "domain", "namespaces", "policy", "query"];

/// The kernel's word on its AppArmor, from `/sys/kernel/security/apparmor/features`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The classes that it mediates, sorted: `file`, `mount`, `network_v8`, `userns`...
    pub classes: Vec<String>,
    /// The newest policy ABI that it reads: 9 of `policy/versions/v9`.
    pub abi: Option<u32>,
}

impl Features {
    /// Reads the tree below `folder`; empty where AppArmor is not there.
    pub fn read(folder: &Path) -> Self {
        let mut classes = names(folder);
        classes.retain(|class| !NOT_CLASSES.contains(&class.as_str()));
        let mask = fs::read_to_string(folder.join("namespaces/mask")).unwrap_or_default();
        if mask.split_ascii_whitespace().any(|word| word == "userns_create") {
            classes.push("userns".to_owned());
        }
        classes.sort_unstable();
        let versions = names(&folder.join("policy/versions")).into_iter();
        let abi = versions.filter_map(|version| version.strip_prefix('v')?.parse().ok()).max();
        Self { classes, abi }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.take(NAMES_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_features_is_classes_and_an_abi() {
        let folder = tempfile::tempdir().unwrap();
        for class in ["file", "mount", "network_v8", "policy/versions", "query", "namespaces", "domain"] {
            fs::create_dir_all(folder.path().join(class)).unwrap();
        }
        for version in ["v5", "v9", "v10", "odd"] {
            fs::write(folder.path().join("policy/versions").join(version), "yes\n").unwrap();
        }
        fs::write(folder.path().join("namespaces/mask"), "userns_create\n").unwrap();
        let want = ["file", "mount", "network_v8", "userns"].map(str::to_owned).to_vec();
        assert_eq!(Features::read(folder.path()), Features { classes: want, abi: Some(10) });
        assert_eq!(Features::read(Path::new("/nonexistent")), Features::default());
    }
}
