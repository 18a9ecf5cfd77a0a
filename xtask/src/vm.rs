//! `cargo xtask vm`: boots kernels and plays suites in them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result};

use crate::lab::console::Outcome;
use crate::lab::kernel::{Kernel, SERIES};
use crate::lab::qemu::Machine;
use crate::lab::suite::{self, Boot, SUITES, Suite};
use crate::lab::{image, programs};
use crate::{place, setup};

/// Boots kernels of a series (or a vmlinuz) in QEMU and plays suites of checks in them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A Debian kernel series (6.1, 6.12, 6.18, 7.3) or the path of a vmlinuz; may be given several times.
    #[arg(long = "kernel", value_name = "SERIES|PATH", default_value = "6.1")]
    kernels: Vec<String>,
    /// A suite to play; may be given several times.
    #[arg(long = "suite", value_name = "NAME", default_value = "smoke")]
    suites: Vec<String>,
    /// Lists the suites and the kernel series.
    #[arg(long)]
    list: bool,
}

/// Checks that held and checks that did not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

/// Plays what the arguments ask for; true when every check held.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        for Suite { name, about, boots } in SUITES {
            println!("{name:<10} {about} ({} boots)", boots.len());
        }
        println!("kernels    {}, or a path", SERIES.join(", "));
        return Ok(true);
    }
    let suites: Vec<Suite> = arguments
        .suites
        .iter()
        .map(|name| {
            suite::find(name)
                .with_context(|| format!("no suite is called {name}; see `cargo xtask vm --list`"))
        })
        .collect::<Result<_>>()?;
    setup::lab()?;
    let mut tally = Tally::default();
    for kernel in &arguments.kernels {
        for suite in &suites {
            let played = play(kernel, *suite)?;
            tally.passed += played.passed;
            tally.failed += played.failed;
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0 && tally.passed > 0)
}

/// Where a boot's console and files are kept.
pub(crate) fn logs(kernel: &str, suite: &str, boot: &str) -> PathBuf {
    place::lab().join("logs").join(format!("{kernel}-{suite}-{boot}"))
}

/// Plays one suite on one kernel.
pub(crate) fn play(kernel: &str, suite: Suite) -> Result<Tally> {
    let kernel = Kernel::get(kernel)?;
    let programs = programs::build()?;
    let image = image::build(&kernel, &programs)?;
    let mut tally = Tally::default();
    for boot in suite.boots {
        let label = format!("{} {} {}", kernel.name, suite.name, boot.name);
        let logs = logs(&kernel.name, suite.name, boot.name);
        let machine = Machine {
            vmlinuz: &kernel.vmlinuz,
            image: &image,
            parameters: boot.parameters(),
            host_port: None,
            limit: Some(boot.limit),
            logs: logs.clone(),
        };
        let start = Instant::now();
        match try_twice(&label, &machine, boot)? {
            Outcome::Finished { passed, failed } => {
                tally.passed += passed;
                tally.failed += failed;
                let seconds = start.elapsed().as_secs();
                println!("  {label}: {passed} passed, {failed} failed ({seconds} s)");
                if failed > 0 {
                    println!("  the console is in {}", logs.display());
                }
            }
            Outcome::Stalled(why) | Outcome::Broken(why) => {
                tally.failed += 1;
                println!("  {label}: FAIL {why}; the console is in {}", logs.display());
            }
        }
    }
    Ok(tally)
}

/// A stalled machine (not a failed check) gets one more chance, and that is said.
fn try_twice(label: &str, machine: &Machine<'_>, boot: &Boot) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let see = |text: &str, line: Option<&Line>| match line {
        Some(Line::Check { name, failure: None }) => println!("  {label} | {name}: ok"),
        Some(Line::Check { name, failure: Some(why) }) => println!("  {label} | {name}: FAIL {why}"),
        None if text.contains("BUG:") || text.contains("panic") => println!("  {label} | {text}"),
        None | Some(_) => {}
    };
    println!("  {label}: booting (limit {} s)", boot.limit.as_secs());
    let outcome = machine.boot(&stop, see)?;
    let Outcome::Stalled(why) = outcome else {
        return Ok(outcome);
    };
    println!("  {label}: the machine stalled ({why}); trying once more");
    machine.boot(&stop, see)
}
