//! Debian's packages as the tools use them: unpacked and not installed, and run by their own loader with their own
//! libraries, so that neither the machine's release nor what is installed on it has a say.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::debian::Apt;

/// Where a release has its loader: since trixie, and before.
const LOADERS: [&str; 2] = ["usr/lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"];
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// The folder of these packages (`name/suite` or `name=version`), fetched when it is not there yet. It has to be
/// another one when the list changes.
pub(crate) fn folder(what: &str, folder: PathBuf, packages: &[&str]) -> Result<PathBuf> {
    if !folder.exists() {
        let packages: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
        Apt::fresh()?.unpack(what, &packages, &folder)?;
    }
    Ok(folder)
}

/// A program of the packages in a folder.
pub(crate) fn program(folder: &Path, path: &str) -> Command {
    let [new, old] = LOADERS.map(|loader| folder.join(loader));
    let [first, second] = LIBRARIES.map(|libraries| folder.join(libraries).display().to_string());
    let mut command = Command::new(if new.exists() { new } else { old });
    command.arg("--library-path").arg(format!("{first}:{second}")).arg(folder.join(path));
    command
}

/// Their Python, with their modules and with nothing of this machine's; it leaves nothing behind.
pub(crate) fn python(folder: &Path, path: &str) -> Command {
    let mut command = program(folder, path);
    command
        .args(["-s", "-B"])
        .env("PYTHONHOME", folder.join("usr"))
        .env("PYTHONPATH", folder.join("usr/lib/python3/dist-packages"))
        .env("LC_ALL", "C.UTF-8");
    command
}
