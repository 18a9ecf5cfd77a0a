//! Scenario `restart`: agents are ended and killed in the middle of a steady stream of numbered violations.
//! Each number is told exactly once, by one of them.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{self, Agent, keep};
use crate::confined;
use crate::console::{Report, say};
use crate::counters::{LOST, equal};

const CYCLES: u32 = 20;
/// What the streams' files would be called.
pub(crate) const PREFIXES: [&str; 2] = ["/lab/stream-a-", "/lab/stream-b-"];
/// Between two violations of a stream.
const PAUSE: &str = "4000";
const STOP_STREAMS: &str = "/lab/granted/stop";
const STOP_LIMIT: Duration = Duration::from_secs(5);
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
const PINS: &str = "/sys/fs/bpf/aa-monitor";

/// Another version of the agent, as far as a file can tell: other bytes, other constants in the programs,
/// another ring.
const UPGRADE: &str = "/tmp/aa-monitor-next";
const UPGRADED: [&str; 4] = ["--ring-size", "4MiB", "--log-level", "debug"];

/// Plays the scenario; with `upgrade`, every other agent is another version.
pub(crate) fn play(report: &mut Report, upgrade: bool) -> Result<()> {
    make_upgrade()?;
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    report.check("a second agent refuses and names the first", second(&agent));

    let streams: Vec<Child> = PREFIXES.iter().map(|prefix| stream(prefix)).collect::<Result<_>>()?;
    for cycle in 0..CYCLES {
        // Not always at the same point of the agent's life: the longest wait lets it settle, the shortest ends
        // it while it still reads what the one before left.
        thread::sleep(Duration::from_millis(u64::from(cycle * 37 % 11) * 60));
        if cycle % 2 == 0 {
            agent.kill()?;
        } else {
            let (status, _) = agent.terminate(STOP_LIMIT)?;
            ensure!(status.success(), "the agent ended: {status}");
        }
        thread::sleep(Duration::from_millis(u64::from(cycle * 53 % 7) * 40));
        agent = match upgrade && cycle % 3 != 2 {
            true => Agent::start_as(UPGRADE, "auto", &UPGRADED)?,
            false => Agent::start("auto")?,
        };
        agent.wait_ready()?;
        // A kill while the programs are being loaded is one of the cases.
        if cycle % 5 != 4 {
            agent.wait_sources([true, true])?;
        }
    }
    agent.wait_sources([true, true])?;
    let provoked = stop(streams)?;
    let total: u64 = provoked.iter().sum();
    let told = settle(total)?;
    let (text, samples) = agent::metrics()?;
    keep("metrics.prom", &text);
    let (status, _) = agent.terminate(STOP_LIMIT)?;
    ensure!(status.success(), "the last agent ended: {status}");
    say(&Line::Summary(format!(
        "{total} numbered violations, {} agents killed and {} stopped in between; told once: {}",
        CYCLES.div_ceil(2),
        CYCLES / 2,
        told.values().filter(|times| **times == 1).count()
    )));
    report.check(
        "every number is told, and once",
        exactly_once(&provoked, &told).inspect_err(|_| {
            keep("events.json", &fs::read_to_string(agent::EVENTS).unwrap_or_default());
        }),
    );
    report.check(
        "the ring never lost one",
        equal(0, sum(&samples, LOST, &[("source", "ebpf"), ("stage", "capture")])),
    );
    report.check("one ring is left, of the last agent", rings());
    report.check("detach removes every pin", detach());
    Agent::say_log();
    Ok(())
}

/// A copy of the agent with something added at its end.
fn make_upgrade() -> Result<()> {
    fs::copy("/bin/aa-monitor", UPGRADE).context("copying the agent")?;
    let mut bytes = fs::OpenOptions::new().append(true).open(UPGRADE)?;
    std::io::Write::write_all(&mut bytes, b"another version").context("changing the copy")
}

pub(crate) fn stream(prefix: &str) -> Result<Child> {
    let mut command = confined::command(ENFORCE, &["stream".into(), prefix.into(), PAUSE.into()]);
    command.stdout(Stdio::piped()).spawn().context("starting a stream")
}

/// Has the streams end; how many violations each has raised.
pub(crate) fn stop(streams: Vec<Child>) -> Result<Vec<u64>> {
    fs::write(STOP_STREAMS, "")?;
    let counts = streams.into_iter().map(|stream| {
        let end = stream.wait_with_output()?;
        let said = String::from_utf8_lossy(&end.stdout).into_owned();
        let count = said.lines().find_map(|line| line.strip_prefix("count: ")?.parse::<u64>().ok());
        count.with_context(|| format!("a stream ended with {} and said {said}", end.status))
    });
    let counts = counts.collect();
    fs::remove_file(STOP_STREAMS)?;
    counts
}

fn second(first: &Agent) -> Result<()> {
    let end = Command::new("/bin/aa-monitor").args(["run", "--listen", "127.0.0.1:0"]).output()?;
    let said = String::from_utf8_lossy(&end.stderr);
    ensure!(end.status.code() == Some(1), "it ended with {}", end.status);
    ensure!(said.contains(&format!("process {} holds", first.id())), "it said {said}");
    Ok(())
}

/// How often each number was told, when all are or nothing is added any more.
pub(crate) fn settle(total: u64) -> Result<BTreeMap<String, u32>> {
    let start = Instant::now();
    let mut last = 0;
    loop {
        // What is told twice is told late.
        thread::sleep(Duration::from_secs(3));
        let told = told()?;
        if (told.len() as u64 >= total && told.len() == last) || start.elapsed() > SETTLE_LIMIT {
            return Ok(told);
        }
        last = told.len();
    }
}

pub(crate) fn told() -> Result<BTreeMap<String, u32>> {
    let text = fs::read_to_string(agent::EVENTS).context("reading the events")?;
    let mut told = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| format!("this is no event: {line}"))?;
        let name = event.get("name").and_then(Value::as_str).unwrap_or_default();
        if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            *told.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(told)
}

pub(crate) fn exactly_once(provoked: &[u64], told: &BTreeMap<String, u32>) -> Result<()> {
    let all = PREFIXES.iter().zip(provoked);
    let names = all.flat_map(|(prefix, count)| (0..*count).map(move |number| format!("{prefix}{number}")));
    let missing: Vec<String> = names.filter(|name| !told.contains_key(name)).collect();
    let twice: Vec<&String> = told.iter().filter(|(_, times)| **times > 1).map(|(name, _)| name).collect();
    let some = |names: &[String]| names.iter().take(5).cloned().collect::<Vec<_>>().join(" ");
    ensure!(missing.is_empty(), "{} are missing: {}", missing.len(), some(&missing));
    let twice: Vec<String> = twice.into_iter().cloned().collect();
    ensure!(twice.is_empty(), "{} are told more than once: {}", twice.len(), some(&twice));
    equal(provoked.iter().sum(), told.len() as u64)
}

fn rings() -> Result<()> {
    let mut rings = Vec::new();
    for entry in fs::read_dir(format!("{PINS}/v3")).context("reading the pins")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        rings.extend(name.starts_with("ring-").then_some(name));
    }
    ensure!(rings.len() == 1, "there are {}", rings.join(", "));
    Ok(())
}

fn detach() -> Result<()> {
    let end = Command::new("/bin/aa-monitor").arg("detach").output()?;
    ensure!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
    ensure!(!fs::exists(PINS)?, "{PINS} is still there");
    Ok(())
}
