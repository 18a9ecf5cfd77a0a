//! The sources of all dependencies, those of other platforms too: cargo-deny reads every one's licence.

use std::process::Command;

use anyhow::Result;

use crate::place;
use crate::step::Step;

/// Fetches what Cargo.lock names and the registry's cache lacks.
pub(crate) fn bring() -> Result<()> {
    let fetch = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["fetch", "--quiet", "--locked"]).args(flags).current_dir(place::workspace());
        command
    };
    let look = Step { name: "looking for the dependencies' sources", way_out: "" };
    if look.finish(&mut fetch(&["--offline"]))?.success {
        return Ok(());
    }
    let step = Step {
        name: "fetching the dependencies' sources",
        way_out: "check the network; when Cargo.lock does not fit Cargo.toml, run `cargo check` once",
    };
    step.run(&mut fetch(&[]))?;
    Ok(())
}
