//! `cargo xtask vm`: boots kernels and plays suites in them.

use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Instant;

use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result, bail};

use crate::lab::console::Outcome;
use crate::lab::kernel::SERIES;
use crate::lab::matrix::{self, Matrix};
use crate::lab::qemu::Stop;
use crate::lab::rig::{Reach, Rig};
use crate::lab::sre;
use crate::lab::suite::{self, Boot, SRE, SUITES, Suite};
use crate::setup;

/// Boots kernels in QEMU and plays suites of checks in them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A Debian kernel series (6.1, 6.12, 6.18, 7.3) or the path of a vmlinuz; may be given several times.
    #[arg(long = "kernel", value_name = "SERIES|PATH", default_value = "6.1")]
    kernels: Vec<String>,
    /// A suite to play [default: smoke]; may be given several times.
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Every series, and the suites that docs/kernels.md is about unless --suite names some; writes that page.
    #[arg(long, conflicts_with = "kernels")]
    all_kernels: bool,
    /// Lists the suites and the kernel series.
    #[arg(long)]
    list: bool,
}

/// How much of a boot is told while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Each check.
    Everything,
    /// Checks that fail.
    Failures,
}

/// Checks that held and checks that did not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
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
    let named: Vec<Suite> = arguments.suites.iter().map(|name| suite::find(name)).collect::<Result<_>>()?;
    let suites = match (named.is_empty(), arguments.all_kernels) {
        (false, _) => named,
        (true, true) => matrix::suites(),
        (true, false) => vec![suite::find("smoke")?],
    };
    setup::lab()?;
    let mut tally = Tally::default();
    if arguments.all_kernels {
        for kernel in SERIES {
            for suite in &suites {
                let part = play(kernel, *suite, Tell::Everything)?;
                // After each: what was found stands, whatever comes later.
                let mut page = Matrix::read();
                page.note(kernel, *suite, part)?;
                page.write()?;
                tally += part;
            }
        }
    } else {
        for kernel in &arguments.kernels {
            for suite in &suites {
                tally += play(kernel, *suite, Tell::Everything)?;
            }
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0 && tally.passed > 0)
}

/// Plays one suite on one kernel.
pub(crate) fn play(kernel: &str, suite: Suite, tell: Tell) -> Result<Tally> {
    // Its checks are made on this side of the console.
    if suite.boots == [SRE] {
        return sre::play(kernel, tell);
    }
    let rig = Rig::furnished(kernel, suite.furnishing())?;
    let mut tally = Tally::default();
    for boot in suite.boots {
        let label = rig.label(boot);
        if tell == Tell::Everything {
            println!("  {label}: booting (limit {} s)", boot.limit.as_secs());
        }
        let start = Instant::now();
        let outcome = rig.boot(boot, &Reach::alone(boot), &Stop::default(), &mut |text, line| {
            say(&label, text, line, tell);
            Ok(())
        });
        let outcome = outcome.with_context(|| format!("booting {label}"))?;
        let part = judge(&outcome, &label);
        println!(
            "  {label}: {} passed, {} failed ({} s)",
            part.passed,
            part.failed,
            start.elapsed().as_secs()
        );
        if part.failed > 0 {
            println!("  the console is in {}", rig.logs(boot).display());
        }
        tally += part;
    }
    Ok(tally)
}

/// Plays one boot for the files that it leaves behind, and says in which folder they are. A check that fails is an error.
pub(crate) fn files(rig: &Rig, boot: &Boot) -> Result<PathBuf> {
    let label = rig.label(boot);
    println!("  {label}: booting (limit {} s)", boot.limit.as_secs());
    let outcome = rig.boot(boot, &Reach::alone(boot), &Stop::default(), &mut |text, line| {
        say(&label, text, line, Tell::Failures);
        Ok(())
    })?;
    let folder = rig.logs(boot);
    match outcome {
        Outcome::Finished { failed: 0, .. } => Ok(folder),
        outcome => bail!("{label}: {outcome:?}; the console is in {}", folder.display()),
    }
}

/// Says what of a boot's console concerns the reader.
pub(crate) fn say(label: &str, text: &str, line: Option<&Line>, tell: Tell) {
    match line {
        Some(Line::Check { name, failure: None }) if tell == Tell::Everything => {
            println!("  {label} | {name}: ok");
        }
        Some(Line::Check { name, failure: Some(why) }) => println!("  {label} | {name}: FAIL {why}"),
        None if text.contains("BUG:") || text.contains("panic") => println!("  {label} | {text}"),
        None | Some(_) => {}
    }
}

/// The checks of a boot; one that ended otherwise than by its verdict is a failed check itself.
pub(crate) fn judge(outcome: &Outcome, label: &str) -> Tally {
    match outcome {
        Outcome::Finished { passed, failed } => Tally { passed: *passed, failed: *failed },
        Outcome::Stalled(why) | Outcome::Broken(why) => {
            println!("  {label}: FAIL {why}");
            Tally { passed: 0, failed: 1 }
        }
    }
}
