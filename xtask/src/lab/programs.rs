//! Our own programs for the guest: static, so that they need nothing there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::place;
use crate::step::Step;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the agent and the guest's programs and returns the folder that holds them.
///
/// They have a target folder of their own: a static program is linked from objects that no other build
/// shares.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = place::workspace().join("target/guest");
    let step = Step {
        name: "building the agent and the guest's programs",
        way_out: "mend the code above, or `cargo xtask setup` when a tool is missing",
    };
    let flags = format!(r#"target.{TARGET}.rustflags=["-C","target-feature=+crt-static"]"#);
    step.run(
        Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--profile",
                "lab",
                "--target",
                TARGET,
                "--config",
                &flags,
            ])
            .args(["--package", "aa-monitor", "--package", "aa-monitor-tests", "--bins", "--target-dir"])
            .arg(&folder)
            .current_dir(place::workspace()),
    )?;
    Ok(folder.join(TARGET).join("lab"))
}
