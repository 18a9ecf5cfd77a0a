//! Other programs that read AppArmor's records: what ours is measured against.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::lab::debian::Apt;
use crate::place;

/// Changes when the list below does.
const FOLDER: &str = "peers-1";
const PACKAGES: [&str; 15] = [
    "auditd/trixie",
    "libapparmor1/trixie",
    "libaudit1/trixie",
    "libauparse0t64/trixie",
    "libbz2-1.0/trixie",
    "libc6/trixie",
    "libcap-ng0/trixie",
    "libexpat1/trixie",
    "liblzma5/trixie",
    "libpython3.13-minimal/trixie",
    "libpython3.13-stdlib/trixie",
    "python3-apparmor/trixie",
    "python3-libapparmor/trixie",
    "python3.13-minimal/trixie",
    "zlib1g/trixie",
];
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Debian's, unpacked and not installed, with the libraries of their own release.
#[derive(Debug)]
pub(crate) struct Peers(PathBuf);

impl Peers {
    /// Fetches the packages when they are not here yet.
    pub(crate) fn get() -> Result<Self> {
        let folder = place::tools().join(FOLDER);
        if !folder.exists() {
            Apt::fresh()?.unpack("the peers", &PACKAGES.map(str::to_owned), &folder)?;
        }
        Ok(Self(folder))
    }

    /// auditd's ausearch.
    pub(crate) fn ausearch(&self) -> Command {
        self.program("usr/sbin/ausearch")
    }

    /// Python with AppArmor's modules, which aa-logprof and aa-notify are made of.
    pub(crate) fn python(&self) -> Command {
        let mut command = self.program("usr/bin/python3.13");
        command.env("PYTHONHOME", self.0.join("usr"));
        command.env("PYTHONPATH", self.0.join("usr/lib/python3/dist-packages"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn program(&self, path: &str) -> Command {
        let mut command = Command::new(self.0.join(LOADER));
        command.arg("--library-path").arg(self.0.join(LIBRARIES)).arg(self.0.join(path));
        command
    }
}
