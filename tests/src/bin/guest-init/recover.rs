//! Scenario `recover`: no BPF file system, so nothing outlives an agent but the kernel's log. Agents are ended,
//! then killed, amid numbered violations; the next one reads from the log what nobody saw.

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::thread;
use std::time::Duration;

use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result, ensure};
use nix::mount::umount;

use crate::agent::{self, Agent, keep};
use crate::console::{Report, say};
use crate::counters::{LOST, equal};
use crate::restart::{PREFIXES, exactly_once, settle, stop, stream, told};

const BPFFS: &str = "/sys/fs/bpf";
const RECOVERED: &str = "aa_monitor_events_recovered_total";
const CYCLES: u32 = 6;
const STOP_LIMIT: Duration = Duration::from_secs(5);
const KILLS: u32 = 3;
/// How long an agent runs before it is killed: longer than its first records wait for the eBPF source.
const LIFE: Duration = Duration::from_secs(5);
/// What is under way in an agent when it is killed: lines that are not written yet. Far less than what is raised
/// while nobody runs.
const UNDER_WAY: u64 = 64;

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    umount(BPFFS).context("unmounting the BPF file system")?;
    let mut agent = start()?;
    let streams = streams()?;
    let mut from_log_before = 0;
    for cycle in 0..CYCLES {
        thread::sleep(Duration::from_millis(u64::from(cycle * 37 % 11) * 60));
        let (status, _) = agent.terminate(STOP_LIMIT)?;
        ensure!(status.success(), "the agent ended: {status}");
        thread::sleep(Duration::from_millis(u64::from(cycle * 53 % 7) * 60));
        from_log_before = from_log()?;
        agent = start()?;
    }
    let provoked = stop(streams)?;
    let told_once = settle(provoked.iter().sum())?;
    let (text, samples) = agent::metrics()?;
    keep("metrics.prom", &text);
    report.check(
        "ended agents, every number is told, and once",
        exactly_once(&provoked, &told_once).inspect_err(|_| {
            keep("events-ended.json", &fs::read_to_string(agent::EVENTS).unwrap_or_default());
        }),
    );
    let recovered = from_log()?;
    report.check("some of them from the log", some(recovered));
    let by_last = sum(&samples, RECOVERED, &[]);
    report.check("the last agent says how many by it", equal(recovered - from_log_before, by_last));
    let lost = ["capture", "record", "recover"].map(|stage| sum(&samples, LOST, &[("stage", stage)]));
    report.check("nothing is lost", equal(0, lost.iter().sum()));
    let ended = provoked.iter().sum::<u64>();

    agent.kill()?;
    fs::remove_file(agent::EVENTS).context("removing the events")?;
    let mut agent = start()?;
    let streams = self::streams()?;
    for cycle in 0..KILLS {
        thread::sleep(LIFE);
        agent.kill()?;
        thread::sleep(Duration::from_millis(u64::from(cycle * 53 % 7) * 60));
        agent = start()?;
    }
    let provoked: u64 = stop(streams)?.iter().sum();
    settle(provoked)?;
    let told = told()?;
    report.check("killed agents, no number is told twice", no_twice(&told));
    let missing = provoked.saturating_sub(told.len() as u64);
    report.check("only what was under way is missed", at_most(UNDER_WAY * u64::from(KILLS), missing));
    let (status, _) = agent.terminate(STOP_LIMIT)?;
    ensure!(status.success(), "the last agent ended: {status}");
    say(&Line::Summary(format!(
        "{ended} numbered violations over {CYCLES} agents that were ended, {recovered} of them told from the log; \
         {provoked} over {KILLS} that were killed, {missing} missed with what was under way"
    )));
    keep("events.json", &fs::read_to_string(agent::EVENTS).unwrap_or_default());
    Agent::say_log();
    Ok(())
}

fn start() -> Result<Agent> {
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    Ok(agent)
}

fn streams() -> Result<Vec<Child>> {
    PREFIXES.iter().map(|prefix| stream(prefix)).collect()
}

/// How many events say that they are from a log.
fn from_log() -> Result<u64> {
    let text = fs::read_to_string(agent::EVENTS).context("reading the events")?;
    Ok(text.matches("\"origin\":\"kmsg\",\"sources\":[\"log\"]").count() as u64)
}

fn no_twice(told: &BTreeMap<String, u32>) -> Result<()> {
    let twice: Vec<&String> = told.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name).collect();
    ensure!(twice.is_empty(), "{} are: {:?}", twice.len(), twice.iter().take(5).collect::<Vec<_>>());
    Ok(())
}

fn some(number: u64) -> Result<()> {
    ensure!(number > 0, "none");
    Ok(())
}

fn at_most(limit: u64, got: u64) -> Result<()> {
    ensure!(got <= limit, "want at most {limit}, got {got}");
    Ok(())
}
