//! Scenario `start`: how soon an agent that is started amid violations has one, what memory that takes, and how soon
//! one that has nothing else to do counts one.
//!
//! Meant for a machine whose clock counts instructions: times are what they are on a processor that does one in a
//! nanosecond, however busy the host is.

use std::fs;
use std::time::{Duration, SystemTime};

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{self, Agent, keep};
use crate::confined;
use crate::console::{Report, say};
use crate::counters::settle;
use crate::figures::tell;
use crate::memory::{self, Memory};
use crate::restart::{PREFIXES, stop, stream};

/// What an agent may have in memory when it has just started. Most is there for a moment: the kernel's types, and
/// the programs as they are loaded.
const PEAK_LIMIT: u64 = 32 << 10;
/// What it may have when all is quiet again: two thirds are pages of the program, which the kernel maps by sixteen,
/// and the rest grows with the violations that the start took to get over (7.3 verifies for six seconds of them).
const IDLE_LIMIT: u64 = 16 << 10;
/// From exec to the first violation that an agent has: the audit stream's, which is opened first.
const FIRST_LIMIT: Duration = Duration::from_secs(1);
/// From a violation to its count, for 99 of 100: the histogram's first bound that is not below the 20 ms which are
/// promised. How much sooner it is, `cargo xtask bench guest` says.
const LATENCY_LIMIT: f64 = 0.025;
const LATENCY: &str = "aa_monitor_event_latency_seconds_bucket";
/// How many violations, and how many microseconds lie between two.
const PACED: u64 = 200;
const PAUSE: u64 = 20_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let provoked = stream(PREFIXES[0])?;
    let exec = SystemTime::now();
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    let started = Memory::of(agent.id())?;
    keep("started.txt", &memory::mappings(agent.id())?);
    stop(vec![provoked])?;
    let (_, before) = settle(1)?;
    let pace = format!("{PACED}x{PAUSE}");
    confined::provoke(ENFORCE, &["paced".into(), "/lab/secret".into(), pace])?;
    let (text, after) = settle(1)?;
    keep("metrics.prom", &text);
    let latency = Latency::between(&before, &after);
    // What the audit stream alone has told of waits for a partner: it is counted by now.
    let told = told()?;
    let any = first(&told, exec, |_| true)?;
    // Said, not held to anything: how long a kernel verifies programs is its own.
    let seen = first(&told, exec, |event| event["origin"] == "ebpf")?;
    let idle = Memory::of(agent.id())?;
    keep("idle.txt", &memory::mappings(agent.id())?);

    for (what, memory) in [("started", started), ("idle", idle)] {
        say(&Line::Summary(format!("{what}: {}", memory.words())));
    }
    let (any_ms, seen_ms) = (any.as_millis(), seen.as_millis());
    say(&Line::Summary(format!("first violation {any_ms} ms after exec, first that eBPF saw {seen_ms} ms")));
    tell("first-ms", any.as_secs_f64() * 1e3);
    tell("first-ebpf-ms", seen.as_secs_f64() * 1e3);
    tell("start-peak-kib", started.peak as f64);
    let [half, most] = [0.5, 0.99].map(|share| latency.within(share));
    say(&Line::Summary(format!("from denial to counter: half within {half} s, 99 % within {most} s")));

    report.check("the start takes no more memory than it may", memory::at_most(PEAK_LIMIT, started.peak));
    report.check("an idle agent has no more memory than it may", memory::at_most(IDLE_LIMIT, idle.resident));
    report.check("the first violation is one from soon after exec", in_time(any));
    report.check("denials of an idle node are counted in time", latency.check(most));
    agent.terminate(Duration::from_secs(5))?;
    Agent::say_log();
    Ok(())
}

fn told() -> Result<Vec<Value>> {
    let text = fs::read_to_string(agent::EVENTS).context("reading the events")?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("this is no event: {line}"));
    text.lines().map(parse).collect()
}

/// How long after `exec` the first of such events happened.
fn first(told: &[Value], exec: SystemTime, such: impl Fn(&Value) -> bool) -> Result<Duration> {
    let exec = exec.duration_since(SystemTime::UNIX_EPOCH)?;
    let exec = Duration::new(exec.as_secs() % DAY.as_secs(), exec.subsec_nanos());
    let times =
        told.iter().filter(|event| such(event)).filter_map(|event| time_of_day(event["time"].as_str()?));
    // Midnight may have come in between.
    let after = times.map(|time| if time >= exec { time - exec } else { time + DAY - exec });
    after.min().context("no such event was told")
}

/// How long after midnight `2026-11-24T21:45:10.962385650Z` is.
fn time_of_day(text: &str) -> Option<Duration> {
    let (_, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
    let [hours, minutes, seconds] = [parts.next()??, parts.next()??, parts.next()??];
    Duration::try_from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds).ok()
}

fn in_time(first: Duration) -> Result<()> {
    ensure!(first < FIRST_LIMIT, "it happened {} ms after exec", first.as_millis());
    Ok(())
}

/// The histogram of what eBPF told first: upper bounds, and how many took no longer.
struct Latency(Vec<(f64, u64)>);

impl Latency {
    /// Of what came between two scrapes.
    fn between(before: &[Sample], after: &[Sample]) -> Self {
        let under = |samples: &[Sample], le: &str| sum(samples, LATENCY, &[("source", "ebpf"), ("le", le)]);
        let bounds = after.iter().filter(|sample| sample.name == LATENCY && sample.label("source") == "ebpf");
        Self(
            bounds
                .map(|sample| sample.label("le"))
                .map(|le| (le.parse().unwrap_or(f64::INFINITY), under(after, le) - under(before, le)))
                .collect(),
        )
    }

    /// The bound within which a share of them is.
    fn within(&self, share: f64) -> f64 {
        let all = self.0.last().map_or(0, |(_, count)| *count) as f64;
        let bound = self.0.iter().find(|(_, count)| *count as f64 >= all * share);
        bound.map_or(f64::INFINITY, |(bound, _)| *bound)
    }

    fn check(&self, most: f64) -> Result<()> {
        let all = self.0.last().map_or(0, |(_, count)| *count);
        ensure!(all == PACED, "{all} of {PACED} are in the histogram");
        ensure!(most <= LATENCY_LIMIT, "99 % take up to {most} s, want {LATENCY_LIMIT} s");
        Ok(())
    }
}
