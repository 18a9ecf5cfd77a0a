//! `aa-monitor detach`: after an uninstallation nothing is left in the kernel.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Failure, write_out};
use crate::capture::ebpf;
use crate::config::DEFAULT_PIN_DIR;

/// `aa-monitor detach`.
#[derive(clap::Args, Debug)]
pub struct DetachArgs {
    /// Where agents have pinned
    #[arg(long, env = "AA_MONITOR_PIN_DIR", value_name = "DIRECTORY", default_value = DEFAULT_PIN_DIR)]
    pin_dir: PathBuf,
}

impl DetachArgs {
    /// Removes every pin, and says so to `out`. What waits in the ring is gone with it.
    pub fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let at = self.pin_dir.display();
        let removed =
            ebpf::detach(&self.pin_dir).with_context(|| format!("cannot remove what is pinned in {at}"))?;
        let said = if removed {
            format!("{at}: detached and removed\n")
        } else {
            format!("{at}: nothing is pinned\n")
        };
        write_out(out, said.as_bytes())
    }
}
