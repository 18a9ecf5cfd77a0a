//! AppArmor 3.0 as Debian 12 has it: its parser, and aa-logprof with the Python that it runs by.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::debian::Apt;
use crate::place;

/// Changes when the list below does.
const FOLDER: &str = "apparmor-3.0-1";
const PACKAGES: [&str; 14] = [
    "apparmor=3.0.8-3",
    "apparmor-utils=3.0.8-3",
    "libapparmor1=3.0.8-3",
    "libc6/bookworm",
    "libexpat1/bookworm",
    "libffi8/bookworm",
    "libgcc-s1/bookworm",
    "libpython3.11-minimal/bookworm",
    "libpython3.11-stdlib/bookworm",
    "libstdc++6/bookworm",
    "python3-apparmor=3.0.8-3",
    "python3-libapparmor=3.0.8-3",
    "python3.11-minimal/bookworm",
    "zlib1g/bookworm",
];

/// The unpacked packages.
#[derive(Debug)]
pub(super) struct Debian12(PathBuf);

impl Debian12 {
    /// Fetches the packages when they are not here yet.
    pub(super) fn get() -> Result<Self> {
        let folder = place::tools().join(FOLDER);
        if !folder.exists() {
            Apt::fresh()?.unpack("AppArmor 3.0", &PACKAGES.map(str::to_owned), &folder)?;
        }
        Ok(Self(folder))
    }

    /// The folder of profiles, with the abstractions.
    pub(super) fn profiles(&self) -> PathBuf {
        self.0.join("etc/apparmor.d")
    }

    /// The folder of aa-logprof's configuration.
    pub(super) fn configuration(&self) -> PathBuf {
        self.0.join("etc/apparmor")
    }

    /// The parser.
    pub(super) fn parser(&self) -> Command {
        self.program("sbin/apparmor_parser")
    }

    /// Python with AppArmor's modules, and with nothing of this machine's.
    pub(super) fn python(&self, script: &Path) -> Command {
        let mut command = self.program("usr/bin/python3.11");
        command
            .args(["-s", "-B"])
            .arg(script)
            .env("PYTHONHOME", self.0.join("usr"))
            .env("PYTHONPATH", self.0.join("usr/lib/python3/dist-packages"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Run by the packages' own loader, with their own libraries.
    fn program(&self, path: &str) -> Command {
        let libraries =
            ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| self.0.join(folder));
        let [first, second] = libraries.each_ref().map(|folder| folder.display().to_string());
        let mut command = Command::new(libraries[0].join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(format!("{first}:{second}")).arg(self.0.join(path));
        command
    }
}
