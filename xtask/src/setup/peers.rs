//! Other programs that read AppArmor's records: what ours is measured against.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::lab::unpacked;
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

/// The unpacked packages.
#[derive(Debug)]
pub(crate) struct Peers(PathBuf);

impl Peers {
    /// Fetches the packages when they are not here yet.
    pub(crate) fn get() -> Result<Self> {
        unpacked::folder("the peers", place::tools().join(FOLDER), &PACKAGES).map(Self)
    }

    /// auditd's ausearch.
    pub(crate) fn ausearch(&self) -> Command {
        unpacked::program(&self.0, "usr/sbin/ausearch")
    }

    /// Python with AppArmor's modules, which aa-logprof and aa-notify are made of.
    pub(crate) fn python(&self) -> Command {
        unpacked::python(&self.0, "usr/bin/python3.13")
    }
}
