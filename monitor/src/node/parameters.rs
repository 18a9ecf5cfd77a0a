//! AppArmor's settings for the whole kernel, each of which can blind a source that reads text.

use std::fs;
use std::io::Read as _;
use std::path::Path;

/// Where the kernel shows them.
const PARAMETERS: &str = "/sys/module/apparmor/parameters";

/// More of a value is not read: the kernel's are words.
const VALUE_LIMIT: u64 = 32;

/// What is told of (security/apparmor/lsm.c): `audit` (`quiet` keeps records from being written, `all` writes
/// one for all that is allowed), `audit_header` (`N` leaves out what marks records as AppArmor's), `mode`
/// (`complain` lets everything through, `kill` ends whatever is refused).
const NAMES: [&str; 3] = ["audit", "audit_header", "mode"];

/// The settings that the running kernel has and lets this process read, with their values.
pub fn parameters() -> Vec<(&'static str, String)> {
    read(Path::new(PARAMETERS))
}

fn read(folder: &Path) -> Vec<(&'static str, String)> {
    let value = |name: &str| {
        let mut text = String::new();
        fs::File::open(folder.join(name)).ok()?.take(VALUE_LIMIT).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    };
    NAMES.into_iter().filter_map(|name| Some((name, value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_as_a_word() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), [], "not this kernel's");
        for (name, text) in [("mode", "enforce\n"), ("audit", "quiet_denied\n"), ("path_max", "8192\n")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(
            read(folder.path()),
            [("audit", "quiet_denied".to_owned()), ("mode", "enforce".to_owned())]
        );
    }
}
