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

/// callgrind counts instructions.
pub(crate) const GUARD: [Package; 1] = [("valgrind", "valgrind")];

/// Installs what is missing.
pub(crate) fn bring(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|(_, sign)| !present(sign)).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

const INSTALL: &str = "apt-get install --no-install-recommends";

/// Why packages cannot be installed, and what to do about it.
fn refusal(packages: &[&str], apt: bool, root: bool) -> Option<String> {
    let packages = packages.join(" ");
    match (apt, root) {
        (false, _) => Some(format!(
            "this needs the programs of Debian's packages {packages}, and there is no apt-get here; way out: \
             install them your distribution's way and repeat"
        )),
        (true, false) => Some(format!(
            "this needs packages that only root can install; run this once, then repeat:\n  \
             sudo {INSTALL} {packages}"
        )),
        (true, true) => None,
    }
}

fn present(sign: &str) -> bool {
    if sign.starts_with('/') { Path::new(sign).exists() } else { find_program(sign).is_some() }
}

/// Installs packages by apt, as root; says the one command to run to everybody else.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let command = format!("{INSTALL} {}", packages.join(" "));
    let (apt, root) = (find_program("apt-get").is_some(), nix::unistd::geteuid().is_root());
    if let Some(why) = refusal(packages, apt, root) {
        bail!(why);
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

#[cfg(test)]
mod tests {
    use super::{LAB, present, refusal};

    #[test]
    fn who_cannot_install_is_told_the_one_command() {
        let missing = ["qemu-system-x86", "xz-utils"];
        let command = "sudo apt-get install --no-install-recommends qemu-system-x86 xz-utils";
        for (name, apt, root, want) in [
            ("a user", true, false, Some(command)),
            ("root", true, true, None),
            (
                "another distribution",
                false,
                true,
                Some("packages qemu-system-x86 xz-utils, and there is no apt-get"),
            ),
        ] {
            let told = refusal(&missing, apt, root);
            assert_eq!(told.is_some(), want.is_some(), "{name}");
            let told = told.unwrap_or_default();
            assert!(told.contains(want.unwrap_or_default()), "{name}: {told}");
        }
    }

    #[test]
    fn what_is_missing_is_known_by_its_program_or_file() {
        assert!(present("sh") && present("/bin/sh"));
        assert!(!present("no-such-program") && !present("/no/such/file"));
        assert!(
            LAB.iter()
                .any(|(package, program)| (*package, *program) == ("qemu-system-x86", "qemu-system-x86_64"))
        );
    }
}
