//! AppArmor 3.0 as Debian 12 has it: its parser, and aa-logprof with the Python that it runs by.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::unpacked;
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
        unpacked::folder("AppArmor 3.0", place::tools().join(FOLDER), &PACKAGES).map(Self)
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
        unpacked::program(&self.0, "sbin/apparmor_parser")
    }

    /// Python with AppArmor's modules.
    pub(super) fn python(&self, script: &Path) -> Command {
        let mut command = unpacked::python(&self.0, "usr/bin/python3.11");
        command.arg(script);
        command
    }
}
