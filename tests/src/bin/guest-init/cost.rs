//! Scenario `cost`: what an operation costs a confined program with no agent, and with each kind of agent.
//!
//! Meant for a machine whose clock counts instructions. The kinds take turns, so that nothing that drifts
//! over the boot can pass for a difference.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use aa_monitor_tests::acts::ENFORCE;
use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, keep};
use crate::confined;
use crate::console::Report;

/// Name, the agent's `--source` (none: no agent), and which sources must come up.
const KINDS: [(&str, Option<&str>, [bool; 2]); 4] = [
    ("none", None, [false, false]),
    ("audit", Some("audit"), [false, true]),
    ("ebpf", Some("ebpf"), [true, false]),
    ("both", Some("auto"), [true, true]),
];
/// Name, profile and arguments of `provoke`.
const OPERATIONS: [(&str, &str, &[&str]); 3] = [
    ("denied", ENFORCE, &["open", "/lab/secret"]),
    ("allowed", ENFORCE, &["open", "/lab/granted/file"]),
    ("unconfined", "unconfined", &["open", "/lab/secret"]),
];
const ROUNDS: usize = 3;
const TIMES: &str = "101";

/// Plays the scenario: `costs.txt` has a line for each measurement, `operation kind p10 median p90`.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let mut medians: BTreeMap<(&str, &str), Vec<i64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (kind, source, up) in KINDS {
            let agent = source.map(|source| start(source, up)).transpose()?;
            for (operation, profile, arguments) in OPERATIONS {
                let arguments: Vec<String> =
                    ["--cost", TIMES].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
                let end = confined::provoke(profile, &arguments)?;
                let said = String::from_utf8_lossy(&end.stdout).trim().to_owned();
                ensure!(end.status.success(), "{operation}: {said} ({})", end.status);
                let median = said.split(' ').nth(1).and_then(|word| word.parse().ok());
                medians.entry((operation, kind)).or_default().push(median.context("no median")?);
                keep("costs.txt", &format!("{operation} {kind} {said}"));
            }
            if let Some(mut agent) = agent {
                agent.terminate(Duration::from_secs(10))?;
            }
        }
    }
    programs().context("the programs' own account")?;
    for (operation, ..) in OPERATIONS.into_iter().filter(|(name, ..)| *name != "denied") {
        report.check(
            &format!("an operation that is {operation} costs the same with every agent"),
            same(&medians, operation),
        );
    }
    Ok(())
}

/// The kernel's account of each BPF program (bpf_stats): `program` tag, verified instructions, runs, and
/// what a run took.
fn programs() -> Result<()> {
    const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let mut agent = start("auto", [true, true])?;
    fs::write(STATS, "1").with_context(|| format!("writing {STATS}"))?;
    let arguments = ["--cost", TIMES, "open", "/lab/secret"].map(str::to_owned);
    confined::provoke(ENFORCE, &arguments)?;
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", agent.id()))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let value = |key| text.lines().find_map(|line: &str| line.strip_prefix(key)).map(str::trim);
        let number = |key| value(key).and_then(|text| text.parse::<u64>().ok());
        if let (Some(tag), Some(runs @ 1..)) = (value("prog_tag:"), number("run_cnt:")) {
            let (time, verified) = (number("run_time_ns:"), number("verified_insns:"));
            let run = time.unwrap_or(0) / runs;
            keep("programs.txt", &format!("{tag} {} {runs} {run}", verified.unwrap_or(0)));
        }
    }
    fs::write(STATS, "0")?;
    agent.terminate(Duration::from_secs(10))?;
    Ok(())
}

fn start(source: &str, up: [bool; 2]) -> Result<Agent> {
    let mut agent = Agent::start(source)?;
    agent.wait_ready()?;
    agent.wait_sources(up)?;
    Ok(agent)
}

/// Whether the medians with an agent lie where those without one do.
fn same(medians: &BTreeMap<(&str, &str), Vec<i64>>, operation: &str) -> Result<()> {
    let of = |kind| medians.get(&(operation, kind)).cloned().unwrap_or_default();
    let without = of("none");
    let (least, most) = (without.iter().min().copied(), without.iter().max().copied());
    let (least, most) = least.zip(most).context("nothing was measured")?;
    // What the clock's own interrupts blur: one part in a hundred.
    let blur = least / 100;
    for (kind, ..) in KINDS {
        for median in of(kind) {
            ensure!(
                (least - blur..=most + blur).contains(&median),
                "{kind}: {median}, without an agent {without:?}"
            );
        }
    }
    Ok(())
}
