//! Which profiles the kernel puts programs under by itself, because of their path.

use std::fs;
use std::path::PathBuf;

use super::FOLDER;

/// Reads the folder in which the kernel shows each loaded profile (`policy/profiles`).
#[derive(Clone, Debug)]
pub struct Attachments(PathBuf);

impl Default for Attachments {
    fn default() -> Self {
        Self(PathBuf::from(FOLDER).join("policy/profiles"))
    }
}

impl Attachments {
    #[cfg(test)]
    pub(crate) fn at(folder: &std::path::Path) -> Self {
        Self(folder.to_owned())
    }

    /// Whether programs attach to this profile, or to the one that it is a child of; `None` where that cannot be
    /// read.
    ///
    /// A profile without a pattern shows its own name instead (`seq_profile_attach_show`,
    /// security/apparmor/apparmorfs.c), and a name that is a path is a pattern.
    pub fn has(&self, profile: &[u8]) -> Option<bool> {
        let parent = bstr::ByteSlice::split_once_str(profile, "//").map_or(profile, |(parent, _)| parent);
        if parent.starts_with(b"/") {
            return Some(true);
        }
        for entry in fs::read_dir(&self.0).ok()?.flatten() {
            let folder = entry.path();
            let line =
                |file: &str| fs::read(folder.join(file)).ok().map(|text| text.trim_ascii_end().to_vec());
            if line("name").as_deref() == Some(parent) {
                return Some(line("attach")? != parent);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_shows_itself_attaches_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for (number, name, attach) in
            [("web.3", "web", "web"), ("nginx.4", "nginx", "/usr/sbin/nginx"), ("x.5", "x", "<unknown>")]
        {
            let folder = folder.path().join(number);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("attach"), format!("{attach}\n")).unwrap();
        }
        let attachments = Attachments::at(folder.path());
        for (profile, want) in [
            ("web", Some(false)),
            ("web//hat", Some(false)),
            ("nginx", Some(true)),
            ("nginx//worker", Some(true)),
            ("x", Some(true)),
            ("/usr/bin/man", Some(true)),
            ("not-loaded", None),
        ] {
            assert_eq!(attachments.has(profile.as_bytes()), want, "{profile}");
        }
        assert_eq!(Attachments::at(&folder.path().join("absent")).has(b"web"), None);
    }
}
