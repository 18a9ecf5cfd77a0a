//! An unconfined process for others to signal and trace.

use std::process::{Child, Command, Stdio};

use aa_monitor_tests::acts::Act;
use anyhow::{Context, Result};

/// A running victim. It ends with the machine.
#[derive(Debug)]
pub(crate) struct Victim(Child);

impl Victim {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let child = Command::new("/bin/busybox").args(["sleep", "86400"]).stdin(Stdio::null()).spawn();
        Ok(Self(child.context("starting the victim")?))
    }

    /// The arguments for `provoke` to perform an act, with the victim's process id where they ask for it.
    pub(crate) fn arguments(&self, act: &Act) -> Vec<String> {
        self.words(act.provoke, act.times)
    }

    /// The same for an operation that is no act.
    pub(crate) fn words(&self, operation: &[&str], times: u32) -> Vec<String> {
        let pid = self.0.id().to_string();
        let operation = operation.iter().map(|word| word.replace("{victim}", &pid));
        ["--times".to_owned(), times.to_string()].into_iter().chain(operation).collect()
    }
}
