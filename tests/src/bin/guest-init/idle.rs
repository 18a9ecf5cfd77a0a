//! Scenario `idle`: what an agent that has nothing to do holds, and how long a denial takes into its counter.
//!
//! Meant for a machine whose clock counts instructions. Each denial comes by itself, and the sum of the latencies is
//! read before and after it: that is its own latency, to the nanosecond, where the histogram knows bounds alone.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result, ensure};

use crate::agent::{self, Agent};
use crate::confined;
use crate::console::{Report, say};
use crate::figures::tell;
use crate::memory::Memory;

/// How long it is left alone after its start.
const REST: Duration = Duration::from_secs(10);
const DENIALS: usize = 200;
/// Before and after a denial: what a scrape has stirred is over by then.
const PAUSE: Duration = Duration::from_millis(50);
const COUNT_LIMIT: Duration = Duration::from_secs(5);
const LATENCY: &str = "aa_monitor_event_latency_seconds";

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    thread::sleep(REST);
    let memory = Memory::of(agent.id())?;
    let threads = fs::read_dir(format!("/proc/{}/task", agent.id()))?.count();
    say(&Line::Summary(format!("at rest: {}, {threads} threads", memory.words())));
    tell("rest-kib", memory.resident as f64);
    tell("threads", threads as f64);

    let mut latencies = (0..DENIALS).map(|_| one()).collect::<Result<Vec<_>>>();
    if let Ok(latencies) = &mut latencies {
        latencies.sort_by(f64::total_cmp);
        let at = |hundredth: usize| latencies.get((DENIALS * hundredth).div_ceil(100) - 1).copied();
        let [half, most] = [50, 99].map(|hundredth| at(hundredth).unwrap_or(f64::NAN) * 1e3);
        say(&Line::Summary(format!(
            "from denial to counter: half within {half:.3} ms, 99 % within {most:.3} ms"
        )));
        tell("latency-half-ms", half);
        tell("latency-most-ms", most);
    }
    report.check("each denial is counted, and its latency is known", latencies.map(drop));
    agent.terminate(Duration::from_secs(5))?;
    Agent::say_log();
    Ok(())
}

/// How many seconds a denial takes into its counter.
fn one() -> Result<f64> {
    thread::sleep(PAUSE);
    let (count, sum) = observed()?;
    thread::sleep(PAUSE);
    confined::provoke(ENFORCE, &["open".into(), "/lab/secret".into()])?;
    let start = Instant::now();
    loop {
        thread::sleep(PAUSE);
        let (count_after, sum_after) = observed()?;
        if count_after == count + 1.0 {
            return Ok(sum_after - sum);
        }
        ensure!(count_after == count, "one denial, and {} are counted", count_after - count);
        ensure!(start.elapsed() < COUNT_LIMIT, "it is not counted");
    }
}

/// How many latencies the agent has observed, and their sum in seconds.
fn observed() -> Result<(f64, f64)> {
    let (_, samples) = agent::metrics()?;
    let of = |suffix: &str| {
        let name = format!("{LATENCY}_{suffix}");
        let mut values =
            samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).peekable();
        values.peek().with_context(|| format!("there is no {name}"))?;
        Ok::<f64, anyhow::Error>(values.sum())
    };
    Ok((of("count")?, of("sum")?))
}
