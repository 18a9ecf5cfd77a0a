//! `core` for the BPF target: the toolchain's own source, or Debian's compiler that has it prebuilt.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::packages;
use crate::place;
use crate::step::{Step, find_program};

const TARGET: &str = "bpfel-unknown-none";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Brings it by the first way that works.
pub(crate) fn bring() -> Result<()> {
    if have_source() || have_prebuilt() {
        return Ok(());
    }
    let source = add_component();
    if have_source() {
        return Ok(());
    }
    let prebuilt = packages::install(&DEBIAN_PACKAGES);
    if have_prebuilt() {
        return Ok(());
    }
    let why =
        |result: Result<()>| result.err().map_or_else(|| "it changed nothing".into(), |e| format!("{e:#}"));
    bail!(
        "the eBPF programs need `core` for {TARGET}, and neither way to it works\n\
         1. the component rust-src by rustup: {}\n\
         2. Debian's packages {}: {}",
        why(source),
        DEBIAN_PACKAGES.join(" "),
        why(prebuilt)
    )
}

fn have_source() -> bool {
    let library = "lib/rustlib/src/rust/library/core/Cargo.toml";
    sysroot(Path::new("rustc")).is_some_and(|root| root.join(library).is_file())
}

fn have_prebuilt() -> bool {
    let folder = Path::new("lib/rustlib").join(TARGET);
    sysroot(Path::new(DEBIAN_RUSTC)).is_some_and(|root| root.join(folder).is_dir())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let output =
        Command::new(rustc).args(["--print", "sysroot"]).current_dir(place::workspace()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn add_component() -> Result<()> {
    if find_program("rustup").is_none() {
        bail!("there is no rustup");
    }
    let step = Step { name: "rustup component add rust-src", way_out: "the network, or the second way" };
    step.run(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(place::workspace()))?;
    Ok(())
}
