//! Tools from cargo's registry, at a pinned version, below target/tools.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::place;
use crate::step::{self, Step};

/// A tool built by `cargo install`.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// More flags for `cargo install`.
    flags: &'static [&'static str],
}

/// 0.10 is the last one for the LLVM 22 that the stable compiler ships; 0.10.0 writes BTF that the kernel
/// refuses (a union with an illegal name for every `Global`).
pub(crate) const BPF_LINKER: Tool = Tool { name: "bpf-linker", version: "0.10.4", flags: &[] };

/// Unoptimised: it takes longer to build than it will ever run.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", flags: &["--debug"] };

impl Tool {
    /// Where the program is.
    pub(crate) fn path(&self) -> PathBuf {
        place::tools().join("bin").join(self.name)
    }

    /// Builds it unless this version is there.
    pub(crate) fn bring(&self) -> Result<()> {
        let Self { name, version, flags } = self;
        let stamp = place::tools().join(format!("{name}-{version}.done"));
        if stamp.exists() && self.path().exists() {
            return Ok(());
        }
        let build = place::tools().join("build");
        let step = Step {
            name: &format!("building {name} {version} (once, some minutes)"),
            way_out: "check the network and that cargo's registry can be reached, then repeat `cargo xtask setup`",
        };
        step.run(
            Command::new(env!("CARGO"))
                .args(["install", name, "--version", version, "--locked", "--force", "--quiet"])
                .args(*flags)
                .arg("--root")
                .arg(place::tools())
                .arg("--target-dir")
                .arg(&build),
        )?;
        fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))?;
        step::write(&stamp, "")
    }
}
