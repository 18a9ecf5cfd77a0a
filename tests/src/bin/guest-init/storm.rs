//! Scenario `storm`: containers that raise violations as fast as they can, beside one that raises a few. What
//! is counted and what is named as lost adds up, and the quiet one loses nothing.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;

use crate::agent::{self, Agent, keep};
use crate::auditd::{self, Auditd};
use crate::console::{Report, say};
use crate::containers::{create, ended, runc};
use crate::counters::{EVENTS, LOST, RECEIVED, equal, settle};

/// Where debugfs is while its one file is read; nobody else is to find it.
const DEBUGFS: &str = "/tmp/debugfs";

const SEEN: &str = "aa_monitor_events_seen_total";

const STORMS: u64 = 4;
const PROCESSES: u64 = 2;
const TIMES: u64 = 25_000;
const QUIET: u64 = 100;
/// What the files would be called that the quiet container tries to make.
const NUMBERED: &str = "/lab/quiet-";
/// Between two violations of the quiet container.
const PAUSE: u64 = 100_000;
const PROVOKED: u64 = STORMS * PROCESSES * TIMES + QUIET;

const STORM_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long the agent may take to say that it lives, on a machine that has no time for it.
const LIVE_LIMIT: Duration = Duration::from_secs(5);
const MEMORY_LIMIT: u64 = 40 << 20;

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let model = preemption()?;
    let auditd = Auditd::start()?;
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    let lost_before = auditd::status("lost")?;
    let memory_before = peak_memory(agent.id())?;

    let mut ids: Vec<String> = Vec::new();
    for number in 0..STORMS {
        let id = format!("storm-{number}");
        create(&id, &cgroup(number), &["storm", "/lab/secret", &format!("{PROCESSES}x{TIMES}")])?;
        ids.push(id);
    }
    let quiet = create("quiet", &cgroup(STORMS), &["numbered", NUMBERED, &format!("{QUIET}x{PAUSE}")])?;
    ids.push("quiet".to_owned());
    let start = Instant::now();
    for id in &ids {
        runc(&["start", id])?;
    }
    let slowest = wait(&mut agent, &ids)?;
    let took = start.elapsed();
    report.check("the agent lives through it", faster_than(slowest, LIVE_LIMIT));

    let (text, samples) = settle(PROVOKED)?;
    keep("metrics.prom", &text);
    let loss =
        |stage, reason| sum(&samples, LOST, &[("source", "ebpf"), ("stage", stage), ("reason", reason)]);
    let counted = sum(&samples, EVENTS, &[]);
    let found = loss("merge", "missed");
    let lost = sum(&samples, LOST, &[("source", "ebpf"), ("stage", "capture")])
        + sum(&samples, LOST, &[("source", "ebpf"), ("stage", "record")]);
    let busy = loss("capture", "program_busy");
    report.check(
        "the programs saw what was provoked, or are known to have been skipped",
        equal(PROVOKED, sum(&samples, SEEN, &[]) + busy),
    );
    report.check("counted and named as lost is provoked", equal(PROVOKED, counted + lost - found));
    report
        .check("what eBPF received and lost is provoked", equal(PROVOKED, received(&samples, "ebpf") + lost));
    let memory = peak_memory(agent.id())?;
    keep("status.txt", &fs::read_to_string(format!("/proc/{}/status", agent.id()))?);
    report.check("memory stays within 40 MiB", below(memory, MEMORY_LIMIT));

    let (status, _) = agent.terminate(STOP_LIMIT)?;
    ensure!(status.success(), "the agent ended: {status}");
    let events = fs::read_to_string(agent::EVENTS).context("reading the agent's events")?;
    let missing = missing(&events, quiet)?;
    report.check("the quiet container's violations are all there, and its own", none(&missing));

    let written = auditd.written()?;
    report.check("auditd read the same storm", more_than(written, 0));
    let kernel_lost = auditd::status("lost")? - lost_before;
    for line in [
        format!(
            "{PROVOKED} violations in {:.1} s, {:.0} a second",
            took.as_secs_f64(),
            PROVOKED as f64 / took.as_secs_f64()
        ),
        format!(
            "aa-monitor: counted {counted}, named as lost {}; {} left to others ({} had had their share, ring full {}, skipped {busy}), {found} of these found in the audit stream",
            PROVOKED - counted,
            lost,
            loss("capture", "over_share"),
            loss("capture", "ring_full"),
        ),
        format!(
            "auditd:     wrote {written}, lost {} (the kernel's own count: {kernel_lost})",
            PROVOKED.saturating_sub(written)
        ),
        format!(
            "the quiet container: {} of {QUIET}, on a kernel with the preemption model {model}; peak memory {:.1} MiB, of which {:.1} at the start; slowest /livez {} ms",
            QUIET - missing.len() as u64,
            memory as f64 / 1_048_576.0,
            memory_before as f64 / 1_048_576.0,
            slowest.as_millis()
        ),
    ] {
        say(&Line::Summary(line));
    }
    Agent::say_log();
    Ok(())
}

/// As a kubelet would name it.
fn cgroup(number: u64) -> String {
    format!("/kubepods/pod0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e{number:02}/{number:064x}")
}

/// Waits until all containers have ended; the answer is how long the agent took, at the longest, to say that
/// it lives.
fn wait(agent: &mut Agent, ids: &[String]) -> Result<Duration> {
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut running: Vec<&String> = ids.iter().collect();
    while !running.is_empty() {
        ensure!(start.elapsed() < STORM_LIMIT, "{running:?} still run after {} s", STORM_LIMIT.as_secs());
        agent.still_runs()?;
        let asked = Instant::now();
        let (status, _) = agent::get("/livez")?;
        equal(200, status.into())?;
        slowest = slowest.max(asked.elapsed());
        thread::sleep(Duration::from_secs(1));
        let mut left = Vec::new();
        for id in running {
            if !ended(id)? {
                left.push(id);
            }
        }
        running = left;
    }
    Ok(slowest)
}

fn received(samples: &[Sample], source: &str) -> u64 {
    sum(samples, RECEIVED, &[("source", source)])
}

/// How the kernel preempts: "none", "voluntary", "full" or "lazy".
fn preemption() -> Result<String> {
    fs::create_dir_all(DEBUGFS)?;
    mount(Some("debugfs"), DEBUGFS, Some("debugfs"), MsFlags::empty(), None::<&str>)
        .context("mounting debugfs")?;
    let models = fs::read_to_string(format!("{DEBUGFS}/sched/preempt"));
    umount(DEBUGFS).context("unmounting debugfs")?;
    let models = models.context("reading the kernel's preemption model")?;
    let chosen = models.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    Ok(chosen.with_context(|| format!("none is chosen in {models:?}"))?.0.to_owned())
}

/// Which numbers of the quiet container were told other than once, or not with its cgroup.
fn missing(events: &str, cgroup: u64) -> Result<Vec<u64>> {
    let mut told = vec![Vec::new(); QUIET as usize];
    for line in events.lines().filter(|line| line.contains(NUMBERED)) {
        let event: Value = serde_json::from_str(line).with_context(|| format!("this is no event: {line}"))?;
        let name = event.get("name").and_then(Value::as_str);
        let number = name.and_then(|name| name.strip_prefix(NUMBERED)?.parse::<usize>().ok());
        let cgroups = number.and_then(|number| told.get_mut(number)).context("a name without its number")?;
        cgroups.push(event.get("cgroup_id").and_then(Value::as_u64));
    }
    let wrong = (0..).zip(told).filter(|(_, cgroups)| *cgroups != [Some(cgroup)]);
    Ok(wrong.map(|(number, _)| number).collect())
}

fn none(missing: &[u64]) -> Result<()> {
    ensure!(missing.is_empty(), "not once, or not as its own: {missing:?}");
    Ok(())
}

/// The most memory that a process has had (`VmHWM`), in bytes.
fn peak_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the agent's status")?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("there is no VmHWM")?.trim().parse::<u64>()? * 1024)
}

fn below(got: u64, limit: u64) -> Result<()> {
    ensure!(got < limit, "want less than {limit}, got {got}");
    Ok(())
}

fn more_than(got: u64, limit: u64) -> Result<()> {
    ensure!(got > limit, "want more than {limit}, got {got}");
    Ok(())
}

fn faster_than(got: Duration, limit: Duration) -> Result<()> {
    ensure!(got < limit, "it took {} ms to answer", got.as_millis());
    Ok(())
}
