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
/// denied, refused without a record, allowed, and unconfined, with no agent and with each kind of agent, in turns.
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
/// What the silent programs may add to a check of a confined task, for each function that they are on.
const SILENT_FILE: Goal = silent("an allowed open of a confined task", Target::AtMost(150.0));
const SILENT_NETWORK: Goal = silent("an allowed socket of a confined task", Target::AtMost(150.0));
const SILENT_CAPABILITY: Goal = silent("a capability that a confined task has", Target::AtMost(150.0));
const SILENT_HOST: Goal = silent("an open of an unconfined task", Target::AtMost(0.0));
const SILENT_HOST_NETWORK: Goal = silent("a socket of an unconfined task", Target::AtMost(0.0));
const SILENT_QUIET: Goal = silent("an open that is refused without a record", Target::Told);

const fn silent(what: &'static str, target: Target) -> Goal {
    Goal { part: "vm", what, unit: "instructions more with silent denials", target }
}

/// The operations, as the guest calls them.
const OPERATIONS: [&str; 7] =
    ["denied", "quiet", "allowed", "network", "capability", "unconfined", "host-network"];

/// What is promised to the programs that are watched.
pub(crate) const GOALS: &[Goal] = &[
    DENIED,
    ALLOWED,
    SILENT_FILE,
    SILENT_NETWORK,
    SILENT_CAPABILITY,
    SILENT_HOST,
    SILENT_HOST_NETWORK,
    SILENT_QUIET,
];

/// Measures on each kernel.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    setup::lab()?;
    let mut figures = Vec::new();
    for kernel in &arguments.kernels {
        figures.extend(on(kernel)?);
    }
    Ok(figures)
}

fn on(kernel: &str) -> Result<Vec<Figure>> {
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
    println!(
        "{:<12} {:>8} {:>16} {:>16} {:>16} {:>16}",
        "open", "none", "audit", "ebpf", "both", "both, silent"
    );
    for operation in OPERATIONS {
        let none = of(operation, "none");
        let cell = |kind| {
            let cost = of(operation, kind);
            format!("{cost:.0} ({:.3})", cost / none)
        };
        let [audit, ebpf, both, silent] = ["audit", "ebpf", "both", "silent"].map(cell);
        println!("{operation:<12} {none:>8.0} {audit:>16} {ebpf:>16} {both:>16} {silent:>16}");
    }
    ensure!(failed == 0, "{label}: {failed} checks failed; the console is in {}", rig.logs(&COST).display());
    let ratio = |goal: Goal, operation| {
        goal.measured(of(operation, "both") / of(operation, "none"))
            .noting(format!("Debian's kernel {kernel}"))
    };
    let more = |goal: Goal, operation| {
        goal.measured(of(operation, "silent") - of(operation, "both"))
            .noting(format!("Debian's kernel {kernel}"))
    };
    Ok(vec![
        ratio(DENIED, "denied"),
        ratio(ALLOWED, "allowed"),
        more(SILENT_FILE, "allowed"),
        more(SILENT_NETWORK, "network"),
        more(SILENT_CAPABILITY, "capability"),
        more(SILENT_HOST, "unconfined"),
        more(SILENT_HOST_NETWORK, "host-network"),
        more(SILENT_QUIET, "quiet"),
    ])
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
