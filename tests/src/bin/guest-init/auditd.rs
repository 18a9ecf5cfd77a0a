//! The audit daemon, reading the same records: what it writes is told beside what the agent counts.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const FOLDER: &str = "/tmp/auditd";
const LOG: &str = "/tmp/auditd/audit.log";
const LIMIT: Duration = Duration::from_secs(10);

/// Debian's auditd.conf, but for the places, and for room: nothing is to be lost to its own limits.
const CONFIGURATION: &str = "\
local_events = yes
write_logs = yes
log_file = /tmp/auditd/audit.log
log_format = RAW
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 2000
num_logs = 2
priority_boost = 4
name_format = NONE
max_log_file_action = IGNORE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
q_depth = 2000
overflow_action = IGNORE
end_of_event_timeout = 2
";

/// A running auditd.
#[derive(Debug)]
pub(crate) struct Auditd(Child);

impl Auditd {
    /// Starts it, without its turning syscall auditing on, and waits until the kernel knows it.
    pub(crate) fn start() -> Result<Self> {
        fs::create_dir_all(FOLDER)?;
        for folder in ["/run", "/var/run", "/var/log/audit"] {
            fs::create_dir_all(folder)?;
        }
        fs::write(format!("{FOLDER}/auditd.conf"), CONFIGURATION)?;
        let said = File::create(format!("{FOLDER}/said"))?;
        let child = Command::new("/sbin/auditd")
            .args(["-n", "-s", "nochange", "-c", FOLDER])
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .context("starting auditd")?;
        let mut auditd = Self(child);
        let start = Instant::now();
        while status("pid")? != u64::from(auditd.0.id()) {
            if let Some(status) = auditd.0.try_wait()? {
                let said = fs::read_to_string(format!("{FOLDER}/said")).unwrap_or_default();
                bail!("auditd ended: {status}: {}", said.trim());
            }
            ensure!(start.elapsed() < LIMIT, "auditd has not registered after {} s", LIMIT.as_secs());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(auditd)
    }

    /// How many AppArmor records it has written, when no more come.
    pub(crate) fn written(&self) -> Result<u64> {
        let mut last = None;
        loop {
            let log = BufReader::new(File::open(LOG).with_context(|| format!("opening {LOG}"))?);
            let lines = log.split(b'\n').map_while(Result::ok);
            let count = lines.filter(|line| line.starts_with(b"type=AVC ")).count() as u64;
            if last == Some(count) {
                return Ok(count);
            }
            last = Some(count);
            thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Drop for Auditd {
    /// It may have ended by itself.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A number of the kernel's audit status: `lost`, `backlog`, `pid`.
pub(crate) fn status(name: &str) -> Result<u64> {
    let end = Command::new("/sbin/auditctl").arg("-s").output().context("starting auditctl")?;
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    let number =
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    number.with_context(|| {
        format!("auditctl -s says no {name}: {text}{}", String::from_utf8_lossy(&end.stderr).trim())
    })
}
