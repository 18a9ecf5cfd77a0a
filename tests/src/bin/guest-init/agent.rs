//! The agent under test: started, asked, stopped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::{self, Sample};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::say;

const PORT: u16 = 9464;
const LOG: &str = "/tmp/agent.log";
/// Where the agent writes its events as JSON lines.
pub(crate) const EVENTS: &str = "/tmp/events.json";
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long loading and verifying the eBPF programs may take, on an emulated machine.
const SOURCE_LIMIT: Duration = Duration::from_secs(30);
const UP: &str = "aa_monitor_source_up";

/// A running agent.
#[derive(Debug)]
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts the agent with JSON events in a file; what it says itself goes to a log.
    pub(crate) fn start(source: &str) -> Result<Self> {
        let log = File::create(LOG).with_context(|| format!("creating {LOG}"))?;
        let child = Command::new("/bin/aa-monitor")
            .args(["run", "--listen", &format!("0.0.0.0:{PORT}"), "--source", source])
            .args(["--output", "json", "--output-file", EVENTS])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        Ok(Self(child.context("starting the agent")?))
    }

    /// Starts the agent with a live table on the console, which is a terminal whatever the host's side is.
    pub(crate) fn start_live(colour: bool) -> Result<Self> {
        let log = File::create(LOG).with_context(|| format!("creating {LOG}"))?;
        let mut command = Command::new("/bin/aa-monitor");
        command.args(["run", "--listen", &format!("0.0.0.0:{PORT}"), "--output", "table"]);
        if !colour {
            command.env("NO_COLOR", "1");
        }
        let child = command.stdin(Stdio::null()).stderr(log).spawn();
        Ok(Self(child.context("starting the agent")?))
    }

    /// The agent's process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            self.still_runs()?;
            match get("/readyz") {
                Ok((200, _)) => return Ok(()),
                Ok((status, body)) if start.elapsed() > READY_LIMIT => {
                    bail!("/readyz still answers {status}: {}", body.trim())
                }
                Err(error) if start.elapsed() > READY_LIMIT => return Err(error),
                Ok(_) | Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Waits until the sources, eBPF and audit, are in the state that they must reach.
    pub(crate) fn wait_sources(&mut self, want: [bool; 2]) -> Result<()> {
        let want = want.map(u64::from);
        let start = Instant::now();
        loop {
            self.still_runs()?;
            let (_, samples) = metrics()?;
            let up = ["ebpf", "audit"].map(|name| scrape::sum(&samples, UP, &[("source", name)]));
            if up == want {
                return Ok(());
            }
            ensure!(start.elapsed() < SOURCE_LIMIT, "want eBPF and audit {want:?}, got {up:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails when the agent has ended; what it said is handed to the host.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.0.try_wait()? {
            Self::say_log();
            bail!("the agent ended: {status}");
        }
        Ok(())
    }

    /// Sends SIGTERM and waits as long as the agent may take.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Result<(ExitStatus, Duration)> {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).context("a process id")?);
        kill(pid, Signal::SIGTERM).context("sending SIGTERM")?;
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.0.try_wait()? {
                return Ok((status, start.elapsed()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the agent still runs {} s after SIGTERM", limit.as_secs())
    }

    /// Hands what the agent said to the host.
    pub(crate) fn say_log() {
        keep("agent.log", &std::fs::read_to_string(LOG).unwrap_or_default());
    }
}

/// Hands a text to the host, which keeps it under this name.
pub(crate) fn keep(name: &str, text: &str) {
    for line in text.lines() {
        say(&Line::File { name: name.to_owned(), text: line.to_owned() });
    }
}

/// Asks the agent.
pub(crate) fn get(path: &str) -> Result<(u16, String)> {
    scrape::get(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), path)
}

/// Scrapes `/metrics`: the text and what it says.
pub(crate) fn metrics() -> Result<(String, Vec<Sample>)> {
    let (status, text) = get("/metrics")?;
    ensure!(status == 200, "/metrics answers {status}");
    let samples = scrape::parse(&text)?;
    Ok((text, samples))
}
