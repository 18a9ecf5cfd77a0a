//! `cargo xtask bench vm`: what the agent costs the programs it watches, counted in instructions.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};

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

/// A denied operation with both sources may cost so much of one without an agent.
const PROMISED: f64 = 1.15;
/// The silent programs may add so many instructions to a check of a confined task, and none to one of another.
const PROMISED_SILENT: f64 = 150.0;
/// The operations, each with what the silent programs may add where that is promised.
const OPERATIONS: [(&str, Option<f64>); 7] = [
    ("denied", None),
    ("quiet", None),
    ("allowed", Some(PROMISED_SILENT)),
    ("network", Some(PROMISED_SILENT)),
    ("capability", Some(PROMISED_SILENT)),
    ("unconfined", Some(0.0)),
    ("host-network", Some(0.0)),
];

/// Runs it; true when the promises are kept.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    setup::lab()?;
    let mut kept = true;
    for kernel in &arguments.kernels {
        kept &= measure(kernel)?;
    }
    Ok(kept)
}

fn measure(kernel: &str) -> Result<bool> {
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
    for (operation, _) in OPERATIONS {
        let none = of(operation, "none");
        let cell = |kind| {
            let cost = of(operation, kind);
            format!("{cost:.0} ({:.3})", cost / none)
        };
        let [audit, ebpf, both, silent] = ["audit", "ebpf", "both", "silent"].map(cell);
        println!("{operation:<12} {none:>8.0} {audit:>16} {ebpf:>16} {both:>16} {silent:>16}");
    }
    println!("\nwhat the silent programs add to the agent with both sources:");
    let mut kept = true;
    for (operation, promised) in OPERATIONS {
        let more = of(operation, "silent") - of(operation, "both");
        let said = promised.map_or(String::new(), |promised| format!(" (promised: at most {promised:+})"));
        println!("{operation:<12} {more:>+8.0}{said}");
        kept &= promised.is_none_or(|promised| more <= promised);
    }
    let ratio = of("denied", "both") / of("denied", "none");
    println!("\ndenied, both sources: {ratio:.3} (promised: at most {PROMISED})");
    Ok(failed == 0 && kept && ratio <= PROMISED)
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
