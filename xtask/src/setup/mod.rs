//! `cargo xtask setup`: brings what building, the lab and the checks need, each piece once.
//!
//! A piece is looked for first, so a second run does nothing and needs no network.

use anyhow::Result;

mod core;
mod crates;
pub(crate) mod packages;
pub(crate) mod peers;
mod prometheus;
pub(crate) mod python;
mod tools;

pub(crate) use self::prometheus::{alertmanager, prometheus, promtool};
pub(crate) use self::tools::CARGO_DENY;

/// What the agent's build needs: a linker and `core` for the BPF target.
pub(crate) fn build() -> Result<()> {
    tools::BPF_LINKER.bring()?;
    core::bring()
}

/// What the lab needs beside the build.
pub(crate) fn lab() -> Result<()> {
    packages::bring(&packages::LAB)?;
    build()
}

/// What the fuzz targets are linked with.
pub(crate) fn fuzz() -> Result<()> {
    packages::bring(&packages::FUZZ)
}

/// What the guard counts with beside the lab.
pub(crate) fn guard() -> Result<()> {
    packages::bring(&packages::GUARD)?;
    lab()
}

/// Everything.
pub(crate) fn all() -> Result<()> {
    crates::bring()?;
    guard()?;
    fuzz()?;
    CARGO_DENY.bring()?;
    promtool()?;
    python::program("python").map(drop)
}

/// The subcommand.
pub(crate) fn run() -> Result<bool> {
    all()?;
    println!("set-up is complete");
    Ok(true)
}
