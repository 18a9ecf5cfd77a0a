//! The agent under test: started, asked, stopped.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
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

/// What the chart's container may do beside what every process may: numbers of linux/capability.h, and why.
const CAPABILITIES: [(u8, &str); 3] = [
    (19, "SYS_PTRACE: the processes of others"),
    (38, "PERFMON: reading kernel memory in BPF programs"),
    (39, "BPF: loading programs"),
];
/// And where the audit stream is asked for.
const AUDIT_READ: u8 = 37;

/// The chart's setting that privileges and sources depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chart {
    /// As it is installed: eBPF alone.
    Default,
    /// `audit.enabled`.
    Audit,
}

impl Chart {
    /// The one that gives this `--source`.
    pub(crate) fn of_source(source: &str) -> Self {
        if source == "ebpf" { Self::Default } else { Self::Audit }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Default => "ebpf",
            Self::Audit => "auto",
        }
    }

    /// Which sources deliver, eBPF and audit.
    pub(crate) const fn sources(self) -> [bool; 2] {
        [true, matches!(self, Self::Audit)]
    }

    fn capabilities(self) -> u64 {
        let audit = if self == Self::Audit { 1 << AUDIT_READ } else { 0 };
        CAPABILITIES.iter().fold(audit, |mask, (number, _)| mask | 1 << number)
    }
}

/// Leaves these capabilities to what is executed next, whose user is root.
fn drop_capabilities(kept: u64) -> io::Result<()> {
    for number in 0..64_u8 {
        if kept >> number & 1 == 1 {
            continue;
        }
        #[expect(unsafe_code, reason = "nix has no call for it")]
        // SAFETY: plain numbers; the kernel keeps nothing of them.
        let end = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        match io::Error::last_os_error().raw_os_error() {
            _ if end == 0 => {}
            // One that this kernel does not know.
            Some(libc::EINVAL) => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

/// A command of the agent's, as the chart's container has it.
fn in_cluster(chart: Chart, word: &str, kubeconfig: &str, node: &str) -> Result<Command> {
    const KUBECONFIG: &str = "/tmp/kubeconfig";
    std::fs::write(KUBECONFIG, kubeconfig).with_context(|| format!("writing {KUBECONFIG}"))?;
    let mut command = Command::new("/bin/aa-monitor");
    command
        .arg(word)
        .env("AA_MONITOR_LISTEN", format!("0.0.0.0:{PORT}"))
        .env("AA_MONITOR_SOURCE", chart.source())
        .env("KUBECONFIG", KUBECONFIG)
        .env("NODE_NAME", node)
        .stdin(Stdio::null());
    let kept = chart.capabilities();
    #[expect(unsafe_code, reason = "what root's exec gives is limited by the task itself")]
    // SAFETY: the closure makes system calls and nothing else.
    unsafe {
        command.pre_exec(move || drop_capabilities(kept));
    }
    Ok(command)
}

/// `aa-monitor check` in the agent's place: fails with every line that is not well.
pub(crate) fn check_in_cluster(chart: Chart, kubeconfig: &str, node: &str) -> Result<()> {
    let check =
        in_cluster(chart, "check", kubeconfig, node)?.output().context("starting aa-monitor check")?;
    keep("check.txt", &String::from_utf8_lossy(&check.stdout));
    all_well(check.status, &String::from_utf8_lossy(&check.stdout))
}

/// Fails with every line of `aa-monitor check` that is not well.
pub(crate) fn all_well(status: ExitStatus, said: &str) -> Result<()> {
    let bad: Vec<_> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    ensure!(status.success() && bad.is_empty() && !said.is_empty(), "{status}: {bad:?}");
    Ok(())
}

/// The same where the audit stream is asked for, but the chart's default gives no `CAP_AUDIT_READ`: fails unless
/// that is all that is bad, what it would give is said, and what to do.
pub(crate) fn check_misses_audit(kubeconfig: &str, node: &str) -> Result<()> {
    let mut check = in_cluster(Chart::Default, "check", kubeconfig, node)?;
    let end = check.args(["--source", "auto"]).output().context("starting aa-monitor check")?;
    let text = String::from_utf8_lossy(&end.stdout);
    keep("check-auto.txt", &text);
    let bad: Vec<_> = text.lines().filter(|line| !line.starts_with("ok ")).collect();
    let [source, _, capability, advice] = *bad.as_slice() else { bail!("{}: {bad:?}", end.status) };
    let told = source.starts_with("warn  audit ")
        && capability.starts_with("warn  cap audit_read ")
        && capability.contains("missing: joins the audit stream")
        && advice.contains("add CAP_AUDIT_READ");
    // What is lost does not end an agent that has eBPF.
    ensure!(told && end.status.success(), "{}: {bad:?}", end.status);
    Ok(())
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts the agent with JSON events in a file; what it says itself goes to a log.
    pub(crate) fn start(source: &str) -> Result<Self> {
        Self::start_as("/bin/aa-monitor", source, &[])
    }

    /// Starts this program as the agent, with these arguments too. Several agents in turn share one log.
    pub(crate) fn start_as(program: &str, source: &str, arguments: &[&str]) -> Result<Self> {
        Self::spawn(program, Some(EVENTS), source, arguments)
    }

    /// Starts the agent with JSON events in another file.
    pub(crate) fn start_printing_to(events: &str, source: &str, arguments: &[&str]) -> Result<Self> {
        Self::spawn("/bin/aa-monitor", Some(events), source, arguments)
    }

    /// Starts the agent without any output of events, as it is by default.
    pub(crate) fn start_without_output(source: &str, arguments: &[&str]) -> Result<Self> {
        Self::spawn("/bin/aa-monitor", None, source, arguments)
    }

    fn spawn(program: &str, events: Option<&str>, source: &str, arguments: &[&str]) -> Result<Self> {
        let output = events.map(|file| ["--output", "json", "--output-file", file]);
        let log = File::options().append(true).create(true).open(LOG);
        let log = log.with_context(|| format!("opening {LOG}"))?;
        let child = Command::new(program)
            .args(["run", "--listen", &format!("0.0.0.0:{PORT}"), "--source", source])
            .args(output.iter().flatten())
            .args(arguments)
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

    /// Starts the agent as the chart does: told of an API server and of its node's name, with the capabilities of
    /// the chart's capabilities and no others.
    pub(crate) fn start_in_cluster(
        chart: Chart,
        kubeconfig: &str,
        node: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let log = File::create(LOG).with_context(|| format!("creating {LOG}"))?;
        let mut command = in_cluster(chart, "run", kubeconfig, node)?;
        command.args(arguments).stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn().context("starting the agent")?))
    }

    /// Fails unless the agent has the chart's capabilities, and no others.
    pub(crate) fn check_capabilities(&self, chart: Chart) -> Result<()> {
        check_capabilities(self.0.id(), chart)
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        until_ready(|| self.still_runs())
    }

    /// Waits until the sources, eBPF and audit, are in the state that they must reach.
    pub(crate) fn wait_sources(&mut self, want: [bool; 2]) -> Result<()> {
        until_sources(want, || self.still_runs())
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

    /// Kills it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill().context("killing the agent")?;
        self.0.wait().map(drop).context("waiting for the agent")
    }

    /// Fails unless the agents so far have said one line with all of these parts.
    pub(crate) fn has_said(parts: &[&str]) -> Result<()> {
        let log = std::fs::read_to_string(LOG).with_context(|| format!("reading {LOG}"))?;
        let said = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(said, "no line with all of {parts:?}");
        Ok(())
    }

    /// The lines with this part that the agents so far have said.
    pub(crate) fn said(part: &str) -> Result<Vec<String>> {
        let log = std::fs::read_to_string(LOG).with_context(|| format!("reading {LOG}"))?;
        Ok(log.lines().filter(|line| line.contains(part)).map(str::to_owned).collect())
    }

    /// Hands what the agent said to the host.
    pub(crate) fn say_log() {
        keep("agent.log", &std::fs::read_to_string(LOG).unwrap_or_default());
    }
}

/// Fails unless a process has the chart's capabilities, and no others.
pub(crate) fn check_capabilities(pid: u32, chart: Chart) -> Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let want = chart.capabilities();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let line = status.lines().find_map(|line| line.strip_prefix(set)).context("no such line")?;
        let got = u64::from_str_radix(line.trim(), 16).with_context(|| format!("{set} {line}"))?;
        let want = if matches!(set, "CapInh:" | "CapAmb:") { 0 } else { want };
        ensure!(got == want, "{set} want {want:x}, got {got:x}");
    }
    Ok(())
}

/// Waits until `/readyz` says so; `still_runs` fails when there is nothing more to wait for.
pub(crate) fn until_ready(mut still_runs: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        still_runs()?;
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
pub(crate) fn until_sources(want: [bool; 2], mut still_runs: impl FnMut() -> Result<()>) -> Result<()> {
    let want = want.map(u64::from);
    let start = Instant::now();
    loop {
        still_runs()?;
        let (_, samples) = metrics()?;
        let up = ["ebpf", "audit"].map(|name| scrape::sum(&samples, UP, &[("source", name)]));
        if up == want {
            return Ok(());
        }
        ensure!(start.elapsed() < SOURCE_LIMIT, "want eBPF and audit {want:?}, got {up:?}");
        thread::sleep(Duration::from_millis(50));
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
