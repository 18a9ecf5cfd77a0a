//! Scenario `cost`: what an operation costs a confined program with no agent, and with each kind of agent.
//!
//! Meant for a machine whose clock counts instructions. The kinds take turns, so that nothing that drifts
//! over the boot can pass for a difference.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use aa_monitor_tests::acts::ENFORCE;
use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, keep};
use crate::confined;
use crate::console::Report;

/// Name, the agent's `--source` (none: no agent), which sources must come up, and its `--silent-denials`.
const KINDS: [(&str, Option<&str>, [bool; 2], &str); 5] = [
    ("none", None, [false, false], "off"),
    ("audit", Some("audit"), [false, true], "off"),
    ("ebpf", Some("ebpf"), [true, false], "off"),
    ("both", Some("auto"), [true, true], "off"),
    (SILENT, Some("auto"), [true, true], "on"),
];
/// The kind that also counts what is refused without a record.
const SILENT: &str = "silent";
/// A profile with `deny` rules.
const QUIET: &str = "silent-enforce";
/// Name, profile and arguments of `provoke`. Of what is allowed, there is one for each of the functions that the
/// silent programs are on.
const OPERATIONS: [(&str, &str, &[&str]); 7] = [
    ("denied", ENFORCE, &["open", "/lab/secret"]),
    ("quiet", QUIET, &["write", "/lab/secret"]),
    ("allowed", ENFORCE, &["open", "/lab/granted/file"]),
    ("network", QUIET, &["inet6"]),
    ("capability", QUIET, &["hostname"]),
    ("unconfined", "unconfined", &["open", "/lab/secret"]),
    ("host-network", "unconfined", &["inet6"]),
];
const ROUNDS: usize = 3;
const TIMES: &str = "101";

/// Plays the scenario: `costs.txt` has a line for each measurement, `operation kind p10 median p90`.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    confined::load("/etc/apparmor.d/silent.profiles")?;
    let mut medians: BTreeMap<(&str, &str), Vec<i64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (kind, source, up, silent) in KINDS {
            let agent = source.map(|source| start(source, up, silent)).transpose()?;
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
                // What it pinned would go on telling, and no agent would be no agent in the first round alone.
                detach()?;
            }
        }
    }
    programs().context("the programs' own account")?;
    for (operation, profile, _) in OPERATIONS.into_iter().filter(|(name, ..)| *name != "denied") {
        // The silent programs run when a confined task is checked, and then alone.
        let confined = profile != "unconfined";
        let kinds: Vec<&str> =
            KINDS.iter().map(|(kind, ..)| *kind).filter(|kind| !confined || *kind != SILENT).collect();
        report.check(
            &format!("{operation} costs the same with {}", kinds.join(", ")),
            same(&medians, operation, &kinds),
        );
    }
    Ok(())
}

fn detach() -> Result<()> {
    let end = Command::new("/bin/aa-monitor").arg("detach").output().context("starting aa-monitor detach")?;
    ensure!(end.status.success(), "detach: {}", String::from_utf8_lossy(&end.stderr).trim());
    Ok(())
}

/// The kernel's account of each BPF program (bpf_stats): `program` tag, verified instructions, runs, and
/// what a run took.
fn programs() -> Result<()> {
    const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let mut agent = start("auto", [true, true], "on")?;
    fs::write(STATS, "1").with_context(|| format!("writing {STATS}"))?;
    for (_, profile, arguments) in OPERATIONS {
        let arguments: Vec<String> =
            ["--cost", TIMES].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
        confined::provoke(profile, &arguments)?;
    }
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

fn start(source: &str, up: [bool; 2], silent: &str) -> Result<Agent> {
    let mut agent = Agent::start_as("/bin/aa-monitor", source, &["--silent-denials", silent])?;
    agent.wait_ready()?;
    agent.wait_sources(up)?;
    Ok(agent)
}

/// Whether the middle of the medians with these kinds of agents lies where those without one do. The middle: now and
/// then a round is off by a page that the kernel's allocator had to get.
fn same(medians: &BTreeMap<(&str, &str), Vec<i64>>, operation: &str, kinds: &[&str]) -> Result<()> {
    let of = |kind| medians.get(&(operation, kind)).cloned().unwrap_or_default();
    let without = of("none");
    let (least, most) = (without.iter().min().copied(), without.iter().max().copied());
    let (least, most) = least.zip(most).context("nothing was measured")?;
    // What the clock's own interrupts blur: one part in a hundred.
    let blur = least / 100;
    for kind in kinds.iter().copied() {
        let mut with = of(kind);
        with.sort_unstable();
        let middle = with.get(with.len() / 2).copied().context("nothing was measured")?;
        ensure!(
            (least - blur..=most + blur).contains(&middle),
            "{kind}: {with:?}, without an agent {without:?}"
        );
    }
    Ok(())
}
