//! Scenario `burst`: what an agent takes of a storm when it has to share one processor with who raises it, and how
//! long a storm a ring outlasts when the agent gets no processor at all.
//!
//! Meant for a machine with one processor whose clock counts instructions.

use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike as _;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::agent::Agent;
use crate::confined;
use crate::console::{Report, say};
use crate::counters::{EVENTS, settle};
use crate::figures::tell;

const STORM: u64 = 20_000;
/// A kind of agent.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Its `--source`, and the sources that must come up.
    source: &'static str,
    up: [bool; 2],
    /// Whether it prints events.
    json: bool,
}

const BOTH: Kind = Kind { name: "both", source: "auto", up: [true, true], json: false };
const KINDS: [Kind; 3] = [
    Kind { name: "ebpf", source: "ebpf", up: [true, false], ..BOTH },
    BOTH,
    Kind { name: "json", json: true, ..BOTH },
];
/// A ring's size as the agent is told, in KiB, and a burst that is too long for it: no record is so small.
const RINGS: [(&str, u64); 4] = [("256KiB", 256), ("1MiB", 1024), ("4MiB", 4096), ("8MiB", 8192)];
const SMALLEST_RECORD: u64 = 128;
/// How often a burst may be cut down to what was left of it.
const CUTS: u32 = 8;
/// How long an agent must have next to nothing to do for a storm to be over, and what that is for each look.
const STILL: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);
const NEXT_TO_NOTHING: Duration = Duration::from_millis(1);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let mut missed = 0;
    for kind in KINDS {
        let lost = storm(kind);
        missed += lost.as_ref().copied().unwrap_or_default();
        report.check(&format!("a storm is measured with {}", kind.name), lost.map(drop));
    }
    tell("storms-missed", missed as f64);
    for (size, kibibytes) in RINGS {
        report.check(&format!("a ring of {size} outlasts a burst"), ring(size, kibibytes));
    }
    Agent::say_log();
    Ok(())
}

/// As fast as one process can; on one processor with the agent. The answer is how many were lost.
fn storm(Kind { name, source, up, json }: Kind) -> Result<u64> {
    let mut agent = if json { Agent::start(source)? } else { Agent::start_without_output(source, &[])? };
    agent.wait_ready()?;
    agent.wait_sources(up)?;
    thread::sleep(STILL);
    let before = processor_time(&agent)?;
    let start = Instant::now();
    provoke(STORM)?;
    let raised = start.elapsed();
    let took = busy(&agent, start)?;
    let spent = processor_time(&agent)? - before;
    let (_, samples) = settle(STORM)?;
    let counted = sum(&samples, EVENTS, &[]);
    let rate = STORM as f64 / took.as_secs_f64();
    let cpu = spent.as_secs_f64() * 1e3 / (STORM as f64 / 1e3);
    say(&Line::Summary(format!(
        "{name}: {STORM} violations raised in {} ms and done with in {} ms, {rate:.0} a second; counted {counted}; \
         {cpu:.2} ms of the agent's CPU for 1,000",
        raised.as_millis(),
        took.as_millis(),
    )));
    for (what, value) in [("rate", rate), ("cpu-ms", cpu)] {
        tell(&format!("storm-{name}-{what}"), value);
    }
    agent.terminate(STOP_LIMIT)?;
    STORM.checked_sub(counted).with_context(|| format!("of {STORM}, {counted} are counted"))
}

/// The longest burst of one container that loses nothing while the agent is kept from reading: what is left of one
/// that is too long, as often as that takes.
fn ring(size: &str, kibibytes: u64) -> Result<()> {
    let mut agent = Agent::start_without_output("ebpf", &["--ring-size", size])?;
    agent.wait_ready()?;
    agent.wait_sources([true, false])?;
    let (mut length, mut counted) = (kibibytes * 1024 / SMALLEST_RECORD, 0);
    for _ in 0..CUTS {
        signal(&agent, Signal::SIGSTOP)?;
        let provoked = provoke(length);
        signal(&agent, Signal::SIGCONT)?;
        provoked?;
        let (_, samples) = settle(0)?;
        let left = sum(&samples, EVENTS, &[]) - counted;
        if left == length {
            say(&Line::Summary(format!("a ring of {size}: {length} violations at once, and none is lost")));
            tell(&format!("ring-{kibibytes}"), length as f64);
            return agent.terminate(STOP_LIMIT).map(drop);
        }
        ensure!(left > 0 && left < length, "of {length}, {left} are left");
        counted += left;
        length = left;
    }
    agent.terminate(STOP_LIMIT)?;
    ensure!(false, "even of {length} some are lost");
    Ok(())
}

fn provoke(times: u64) -> Result<()> {
    let end = confined::provoke(ENFORCE, &["storm".into(), "/lab/secret".into(), format!("1x{times}")])?;
    ensure!(
        end.status.code() == Some(1),
        "provoke: {} ({})",
        String::from_utf8_lossy(&end.stdout).trim(),
        end.status
    );
    Ok(())
}

/// How long after `start` the agent was done with what it had to do.
fn busy(agent: &Agent, start: Instant) -> Result<Duration> {
    let (mut last, mut before) = (Instant::now(), processor_time(agent)?);
    while last.elapsed() < STILL {
        thread::sleep(LOOK);
        let now = processor_time(agent)?;
        if now - before > NEXT_TO_NOTHING {
            last = Instant::now();
        }
        before = now;
    }
    Ok(last - start)
}

/// What a process has had of the processor.
fn processor_time(agent: &Agent) -> Result<Duration> {
    let clock = clock_getcpuclockid(pid(agent)?).context("finding the agent's clock")?;
    let now = clock.now().context("reading the agent's clock")?;
    Ok(Duration::from_nanos(now.num_nanoseconds().try_into()?))
}

fn signal(agent: &Agent, signal: Signal) -> Result<()> {
    kill(pid(agent)?, signal).with_context(|| format!("sending {signal}"))
}

fn pid(agent: &Agent) -> Result<Pid> {
    Ok(Pid::from_raw(agent.id().try_into()?))
}
