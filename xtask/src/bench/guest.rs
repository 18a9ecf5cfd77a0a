//! `cargo xtask bench guest`: how soon an agent is there, what it holds and what it takes of a storm, on a real kernel
//! in a machine with one processor whose clock counts instructions.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::figure::{Figure, Goal, Target};
use crate::lab::rig::Rig;
use crate::lab::suite::{BURST, Boot, CROWD, IDLE, START};
use crate::setup;
use crate::vm;

/// Boots a kernel whose clock counts instructions and measures the agent there: its start, at rest, among 200 pods,
/// in a storm.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A Debian kernel series or the path of a vmlinuz.
    #[arg(long, value_name = "SERIES|PATH", default_value = "6.12")]
    kernel: String,
}

/// A goal, what the guest calls its number, and how many of the guest's units make one of the goal's.
type Measure = (Goal, &'static str, f64);

const fn goal(what: &'static str, unit: &'static str, target: Target) -> Goal {
    Goal { part: "guest", what, unit, target }
}

const KIB: f64 = 1024.0;

const MEASURES: [Measure; 21] = [
    (goal("from exec to the first violation that it tells", "ms", Target::AtMost(1000.0)), "first-ms", 1.0),
    (goal("from exec to the first violation that eBPF has seen", "ms", Target::Told), "first-ebpf-ms", 1.0),
    (goal("memory at most, started amid violations", "MiB", Target::AtMost(32.0)), "start-peak-kib", KIB),
    (goal("memory at rest", "MiB", Target::AtMost(12.0)), "rest-kib", KIB),
    (goal("threads at rest", "", Target::Told), "threads", 1.0),
    (goal("from denial to counter at rest, half of them", "ms", Target::Told), "latency-half-ms", 1.0),
    (goal("from denial to counter at rest, 99 of 100", "ms", Target::AtMost(20.0)), "latency-most-ms", 1.0),
    (goal("memory with 200 pods that nothing was denied", "MiB", Target::Told), "crowd-0-kib", KIB),
    (goal("memory with 200 pods and 2,000 series", "MiB", Target::Told), "crowd-2000-kib", KIB),
    (goal("memory with 200 pods and 5,000 series", "MiB", Target::AtMost(32.0)), "crowd-5000-kib", KIB),
    (goal("violations a second, eBPF alone", "1/s", Target::Told), "storm-ebpf-rate", 1.0),
    (goal("violations a second, both sources", "1/s", Target::Told), "storm-both-rate", 1.0),
    (goal("violations a second, both sources, as JSON", "1/s", Target::Told), "storm-json-rate", 1.0),
    (goal("violations of these storms that are lost", "", Target::AtMost(0.0)), "storms-missed", 1.0),
    (goal("agent's CPU for 1,000 violations, eBPF alone", "ms", Target::Told), "storm-ebpf-cpu-ms", 1.0),
    (goal("agent's CPU for 1,000 violations, both sources", "ms", Target::Told), "storm-both-cpu-ms", 1.0),
    (goal("agent's CPU for 1,000 violations, as JSON", "ms", Target::Told), "storm-json-cpu-ms", 1.0),
    (goal("longest burst that loses nothing, ring of 256 KiB", "violations", Target::Told), "ring-256", 1.0),
    (goal("longest burst that loses nothing, ring of 1 MiB", "violations", Target::Told), "ring-1024", 1.0),
    (goal("longest burst that loses nothing, ring of 4 MiB", "violations", Target::Told), "ring-4096", 1.0),
    (goal("longest burst that loses nothing, ring of 8 MiB", "violations", Target::Told), "ring-8192", 1.0),
];

/// What is promised of an agent in a guest.
#[expect(clippy::indexing_slicing, reason = "the compiler does it, within bounds or not at all")]
pub(crate) const GOALS: &[Goal] = &{
    let mut goals = [goal("", "", Target::Told); MEASURES.len()];
    let mut at = 0;
    while at < goals.len() {
        goals[at] = MEASURES[at].0;
        at += 1;
    }
    goals
};

/// Plays every boot, and puts together what they tell.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    setup::lab()?;
    let rig = Rig::ready(&arguments.kernel)?;
    let mut told = BTreeMap::new();
    for boot in [START, IDLE, CROWD, BURST] {
        told.extend(figures(&rig, &boot)?);
    }
    let mut note = Some(format!(
        "all of these on Debian's kernel {}, one processor, an instruction taken for a nanosecond",
        rig.release()
    ));
    let mut figure = |(goal, name, unit): &Measure| {
        let value = told.get(*name).with_context(|| format!("the guest does not tell {name}"))?;
        let figure = goal.measured(value / unit);
        // Once: it is the same of each.
        let notes: Vec<_> = about(name).map(str::to_owned).into_iter().chain(note.take()).collect();
        Ok(if notes.is_empty() { figure } else { figure.noting(notes.join("; ")) })
    };
    MEASURES.iter().map(&mut figure).collect()
}

/// How a number came about, where its name does not say.
fn about(name: &str) -> Option<&'static str> {
    Some(match name {
        "first-ms" => "the audit stream's, which is opened first",
        "first-ebpf-ms" => "until then the kernel verifies the programs",
        "latency-half-ms" => "200 denials, each by itself",
        "crowd-0-kib" => "beside a fake API server",
        "storm-ebpf-rate" => "20,000 by one process as fast as it can, on the agent's own processor",
        "ring-256" => "by one container, while the agent gets no processor at all",
        _ => return None,
    })
}

fn figures(rig: &Rig, boot: &Boot) -> Result<BTreeMap<String, f64>> {
    let path = vm::files(rig, boot)?.join("figures.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    read(&text)
}

/// Reads lines `name value`.
fn read(text: &str) -> Result<BTreeMap<String, f64>> {
    let mut figures = BTreeMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(' ').with_context(|| format!("not a figure: {line}"))?;
        let value = value.parse().with_context(|| format!("not a number: {line}"))?;
        ensure!(figures.insert(name.to_owned(), value).is_none(), "{name} is told twice");
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn figures_are_read_or_refused() {
        for (name, text, want) in [
            ("two", "a 1.5\nb 20\n", Some(vec![("a".to_owned(), 1.5), ("b".to_owned(), 20.0)])),
            ("nothing", "", Some(vec![])),
            ("one twice", "a 1\na 1\n", None),
            ("no number", "a one\n", None),
            ("no name", "1.5\n", None),
        ] {
            assert_eq!(read(text).ok().map(|figures| figures.into_iter().collect()), want, "{name}");
        }
    }
}
