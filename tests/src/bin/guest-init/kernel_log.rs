//! The kernel log: a witness of its own for what AppArmor reported.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use libc::{EPIPE, O_NONBLOCK};

/// A reader that stands at some record of the log.
#[derive(Debug)]
pub(crate) struct KernelLog(File);

impl KernelLog {
    /// Opens the log at its first record.
    pub(crate) fn open() -> Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg");
        Ok(Self(file.context("opening /dev/kmsg")?))
    }

    /// The text of AppArmor's records since the last call.
    pub(crate) fn records(&mut self) -> Result<Vec<String>> {
        let mut records = Vec::new();
        let mut buffer = vec![0; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(records),
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                    let text =
                        text.lines().next().and_then(|line| line.split_once(';')).map(|(_, text)| text);
                    records.extend(text.filter(|text| text.contains("apparmor=\"")).map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(records),
                // The ring has overtaken the reader; the next read continues at what is left.
                Err(error) if error.raw_os_error() == Some(EPIPE) => {}
                Err(error) => return Err(error).context("reading /dev/kmsg"),
            }
        }
    }
}
