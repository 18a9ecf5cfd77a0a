//! A kernel with its image, ready to boot.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::console::Outcome;
use super::image::Furnishing;
use super::kernel::Kernel;
use super::qemu::{Machine, See, Stop};
use super::suite::Boot;
use super::{image, programs};
use crate::place;

/// What all boots of one kernel share.
#[derive(Debug)]
pub(crate) struct Rig {
    kernel: Kernel,
    image: PathBuf,
}

/// Where a boot's console and files are kept.
pub(crate) fn logs(kernel: &str, boot: &Boot) -> PathBuf {
    place::lab().join("logs").join(format!("{kernel}-{}-{}", boot.scenario, boot.name))
}

impl Rig {
    /// Fetches, builds and packs what is missing.
    pub(crate) fn ready(kernel: &str) -> Result<Self> {
        Self::furnished(kernel, Furnishing::Bare)
    }

    /// The same with more than the lab's own programs.
    pub(crate) fn furnished(kernel: &str, furnishing: Furnishing) -> Result<Self> {
        let kernel = Kernel::get(kernel)?;
        let programs = programs::build()?;
        let image = image::build(&kernel, &programs, furnishing)?;
        Ok(Self { kernel, image })
    }

    /// The kernel's release, as `uname -r` says it.
    pub(crate) fn release(&self) -> String {
        self.kernel.release()
    }

    /// How lines call a boot of this kernel.
    pub(crate) fn label(&self, boot: &Boot) -> String {
        format!("{} {} {}", self.kernel.name, boot.scenario, boot.name)
    }

    /// Where a boot of this kernel leaves its console and files.
    pub(crate) fn logs(&self, boot: &Boot) -> PathBuf {
        logs(&self.kernel.name, boot)
    }

    /// Boots. A machine that stalled (which is not a failed check) gets one more chance, and that is said.
    pub(crate) fn boot(&self, boot: &Boot, reach: &Reach, stop: &Stop, see: &mut See<'_>) -> Result<Outcome> {
        let machine = Machine {
            vmlinuz: &self.kernel.vmlinuz,
            image: &self.image,
            parameters: format!("{} {}", boot.parameters(), reach.parameters),
            host_port: reach.port,
            limit: reach.limit,
            counting: boot.counting(),
            logs: self.logs(boot),
        };
        match machine.boot(stop, see)? {
            Outcome::Stalled(why) => {
                println!("  {}: the machine stalled ({why}); trying once more", self.label(boot));
                machine.boot(stop, see)
            }
            outcome => Ok(outcome),
        }
    }
}

/// What differs between boots that play the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// A port of this host that leads to the agent's.
    pub(crate) port: Option<u16>,
    /// More kernel parameters.
    pub(crate) parameters: String,
    /// The wall-clock limit; `None` for a machine that the user ends.
    pub(crate) limit: Option<Duration>,
}

impl Reach {
    /// Nothing but the boot's own limit.
    pub(crate) fn alone(boot: &Boot) -> Self {
        Self { limit: Some(boot.limit), ..Self::default() }
    }
}
