//! A real dbus-daemon, which reports what AppArmor says about messages by audit records of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts;
use anyhow::{Context, Result, ensure};

const LIMIT: Duration = Duration::from_secs(10);

/// A running daemon; ended when dropped.
#[derive(Debug)]
pub(crate) struct Bus(Child);

impl Bus {
    /// Starts it and waits for its socket.
    pub(crate) fn start() -> Result<Self> {
        let child = Command::new("/bin/dbus-daemon")
            .args(["--config-file=/etc/bus.conf", "--nofork", "--nopidfile", "--nosyslog"])
            .stdin(Stdio::null())
            .spawn();
        let mut bus = Self(child.context("starting dbus-daemon")?);
        let start = Instant::now();
        while !Path::new(acts::BUS).exists() {
            let ended = bus.0.try_wait()?;
            ensure!(ended.is_none() && start.elapsed() < LIMIT, "dbus-daemon made no socket: {ended:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(bus)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
