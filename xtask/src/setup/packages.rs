//! Packages of the machine's own distribution: only those whose program is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{Step, find_program};

/// A package, and the program or file by which one knows that it is there.
pub(crate) type Package = (&'static str, &'static str);

/// What the lab runs on this side of the console.
pub(crate) const LAB: [Package; 4] = [
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("xz-utils", "xz"),
    ("cpio", "cpio"),
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
];

/// libFuzzer is C++, and is built by whatever `c++` is.
pub(crate) const FUZZ: [Package; 1] = [("g++", "c++")];

/// Installs what is missing.
pub(crate) fn bring(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|(_, sign)| !present(sign)).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn present(sign: &str) -> bool {
    if sign.starts_with('/') { Path::new(sign).exists() } else { find_program(sign).is_some() }
}

/// Installs packages by apt, as root; says the one command to run to everybody else.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let command = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if find_program("apt-get").is_none() {
        bail!(
            "this needs the programs of Debian's packages {}, and there is no apt-get here; \
             way out: install them your distribution's way and repeat",
            packages.join(" ")
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "this needs packages that only root can install; run this once, then repeat:\n  sudo {command}"
        );
    }
    let way_out = format!("check the network and /etc/apt, or install by hand: {command}");
    let update = Step { name: "apt-get update", way_out: &way_out };
    update.run(Command::new("apt-get").args(["update", "-qq"]))?;
    let install = Step { name: &format!("installing {}", packages.join(", ")), way_out: &way_out };
    install.run(
        Command::new("apt-get")
            .args(["install", "-qq", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    Ok(())
}
