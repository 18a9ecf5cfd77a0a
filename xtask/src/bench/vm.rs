//! `cargo xtask bench vm`: what the agent costs the programs it watches, counted in instructions.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::figure::{Figure, Goal, Target};
use crate::lab::console::Outcome;
use crate::lab::qemu::Stop;
use crate::lab::rig::{Reach, Rig};
use crate::lab::suite::COST;
use crate::setup;
use crate::vm::{Tell, say};

/// Boots a kernel whose clock counts instructions and measures what an operation costs a confined program:
/// denied, allowed, and unconfined, with no agent and with each kind of agent, in turns.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A Debian kernel series or the path of a vmlinuz; may be given several times.
    #[arg(long = "kernel", value_name = "SERIES|PATH", default_value = "6.12")]
    kernels: Vec<String>,
}

const DENIED: Goal = Goal {
    part: "vm",
    what: "a denied open with both sources, times one without an agent, in instructions",
    unit: "",
    target: Target::AtMost(1.15),
};
const ALLOWED: Goal = Goal {
    part: "vm",
    what: "an allowed open with both sources, times one without an agent, in instructions",
    unit: "",
    target: Target::AtMost(1.005),
};

/// What is promised to the programs that are watched.
pub(crate) const GOALS: &[Goal] = &[DENIED, ALLOWED];

/// Measures on each kernel.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    setup::lab()?;
    let mut figures = Vec::new();
    for kernel in &arguments.kernels {
        figures.extend(on(kernel)?);
    }
    Ok(figures)
}

fn on(kernel: &str) -> Result<[Figure; 2]> {
    let rig = Rig::ready(kernel)?;
    let label = rig.label(&COST);
    println!("  {label}: booting (limit {} s)", COST.limit.as_secs());
    let outcome = rig.boot(&COST, &Reach::alone(&COST), &Stop::default(), &mut |text, line| {
        say(&label, text, line, Tell::Everything);
        Ok(())
    })?;
    let Outcome::Finished { failed, .. } = outcome else {
        anyhow::bail!("{label}: {outcome:?}; the console is in {}", rig.logs(&COST).display());
    };
    let path = rig.logs(&COST).join("costs.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let medians = medians(&text)?;
    let of = |operation, kind| medians.get(&(operation, kind)).copied().unwrap_or(f64::NAN);
    println!("\n{kernel}: instructions an operation; in brackets the ratio to no agent");
    println!("{:<12} {:>8} {:>16} {:>16} {:>16}", "open", "none", "audit", "ebpf", "both");
    for operation in ["denied", "allowed", "unconfined"] {
        let none = of(operation, "none");
        let cell = |kind| {
            let cost = of(operation, kind);
            format!("{cost:.0} ({:.3})", cost / none)
        };
        println!(
            "{operation:<12} {none:>8.0} {:>16} {:>16} {:>16}",
            cell("audit"),
            cell("ebpf"),
            cell("both")
        );
    }
    ensure!(failed == 0, "{label}: {failed} checks failed; the console is in {}", rig.logs(&COST).display());
    let ratio = |goal: Goal, operation| {
        goal.measured(of(operation, "both") / of(operation, "none"))
            .noting(format!("Debian's kernel {kernel}"))
    };
    Ok([ratio(DENIED, "denied"), ratio(ALLOWED, "allowed")])
}

/// The middle one of the rounds' medians.
fn medians(text: &str) -> Result<BTreeMap<(&str, &str), f64>> {
    let mut rounds: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(operation), Some(kind), _, Some(median)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            anyhow::bail!("not a measurement: {line}");
        };
        rounds.entry((operation, kind)).or_default().push(median.parse().context("a median")?);
    }
    ensure!(!rounds.is_empty(), "nothing was measured");
    Ok(rounds
        .into_iter()
        .map(|(key, mut values)| {
            values.sort_by(f64::total_cmp);
            (key, values.get(values.len() / 2).copied().unwrap_or(f64::NAN))
        })
        .collect())
}
