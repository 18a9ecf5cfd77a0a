//! What the guest runs beside our own programs: busybox, apparmor_parser, runc, crun and auditd, with their
//! libraries.
//!
//! They are Debian's (trixie), not this machine's: an old parser does not know what a new kernel mediates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::{Archive, Node};
use super::debian::Apt;
use crate::place;
use crate::step::Step;

/// Changes when the list below does.
const FOLDER: &str = "userland-4";
const PACKAGES: [&str; 25] = [
    "apparmor/trixie",
    "auditd/trixie",
    "busybox-static/trixie",
    "crun/trixie",
    "libaudit1/trixie",
    "libauparse0t64/trixie",
    "libc6/trixie",
    "libcap-ng0/trixie",
    "libcap2/trixie",
    "libcom-err2/trixie",
    "libgcc-s1/trixie",
    "libgcrypt20/trixie",
    "libgssapi-krb5-2/trixie",
    "libk5crypto3/trixie",
    "libkeyutils1/trixie",
    "libkrb5-3/trixie",
    "libkrb5support0/trixie",
    "libnsl2/trixie",
    "libseccomp2/trixie",
    "libssl3t64/trixie",
    "libsystemd0/trixie",
    "libtirpc3t64/trixie",
    "libwrap0/trixie",
    "libyajl2/trixie",
    "runc/trixie",
];
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The unpacked packages.
#[derive(Debug)]
pub(crate) struct Userland(PathBuf);

impl Userland {
    /// Fetches the packages when they are not here yet.
    pub(crate) fn get() -> Result<Self> {
        let folder = place::lab().join(FOLDER);
        if !folder.exists() {
            Apt::fresh()?.unpack("the guest's userland", &PACKAGES.map(str::to_owned), &folder)?;
        }
        Ok(Self(folder))
    }

    /// Adds a program of the packages to an image, with the loader and the libraries it needs.
    pub(crate) fn add(&self, archive: &mut Archive, program: &str, to: &str) -> Result<()> {
        let path = self.0.join(program);
        add_file(archive, &path, to)?;
        for library in self.libraries(&path)? {
            let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            add_file(archive, &library, &format!("lib/x86_64-linux-gnu/{name}"))?;
        }
        Ok(())
    }

    /// Asks the packages' own loader, as ldd does; the machine's libraries have no say.
    fn libraries(&self, program: &Path) -> Result<Vec<PathBuf>> {
        let (loader, libraries) = (self.0.join(LOADER), self.0.join(LIBRARIES));
        let step = Step {
            name: "listing a program's libraries",
            way_out: "delete target/lab/userland-* to fetch the packages again",
        };
        let end = step
            .finish(Command::new(&loader).arg("--library-path").arg(&libraries).arg("--list").arg(program))?;
        // Static programs have no list: the loader refuses them.
        let found = end.stdout.lines().filter_map(|line| {
            let path = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
            let path = PathBuf::from(path.split(" (").next()?);
            path.starts_with(&libraries).then_some(path)
        });
        Ok(found.collect())
    }

    /// Adds what every profile includes: the ABIs and the tunables.
    pub(crate) fn add_policy(&self, archive: &mut Archive) -> Result<()> {
        for folder in ["etc/apparmor.d/abi", "etc/apparmor.d/tunables"] {
            add_folder(archive, &self.0.join(folder), folder)?;
        }
        Ok(())
    }

    /// The folder of profiles, with the abstractions.
    pub(crate) fn profiles(&self) -> PathBuf {
        self.0.join("etc/apparmor.d")
    }

    /// The parser, run by the packages' own loader.
    pub(crate) fn parser(&self) -> Command {
        let mut command = Command::new(self.0.join(LOADER));
        command
            .arg("--library-path")
            .arg(self.0.join(LIBRARIES))
            .arg(self.0.join("usr/sbin/apparmor_parser"));
        command
    }

    /// Adds the loader, at the path that programs name it by.
    pub(crate) fn add_loader(&self, archive: &mut Archive) -> Result<()> {
        add_file(archive, &self.0.join(LOADER), "lib64/ld-linux-x86-64.so.2")
    }
}

fn add_folder(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let to = format!("{to}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            add_folder(archive, &entry.path(), &to)?;
        } else {
            add_file(archive, &entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Adds a file of this machine, with its permissions.
pub(crate) fn add_file(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    let mode = fs::metadata(from)?.permissions().mode() & 0o7777;
    archive.put(to, Node::File { mode, content });
    Ok(())
}
