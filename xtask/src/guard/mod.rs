//! `cargo xtask guard`: what the code costs, in numbers that are the same on every machine, against a stored baseline.
//!
//! ```text
//! bench program under callgrind -> instructions a record  \
//! object file                   -> size of each program    +-> table, against bench/baseline.toml
//! agent in the lab              -> instructions verified  /
//! ```

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

mod baseline;
mod callgrind;
mod circumstances;
mod compare;
mod object;
mod verified;

use self::baseline::{Baseline, Kernel};
use self::circumstances::Circumstances;
use self::compare::{Row, Tolerance, Verdict};
use crate::lab::kernel::{SERIES, USUAL};
use crate::lab::programs;
use crate::setup;
use crate::vm::{Tally, Tell};

/// Compares instruction counts of parser, replay and pipeline, and sizes and verified instructions of the eBPF
/// programs, with bench/baseline.toml.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Counts everything, on every kernel, and writes the baseline from it.
    #[arg(long)]
    renew: bool,
    /// Every kernel series, instead of the two that `cargo xtask test` boots.
    #[arg(long)]
    all_kernels: bool,
}

/// What a number may grow by. The same code makes the same numbers, but for the order in which hash tables lie,
/// and a clean-up elsewhere moves some inlining.
const RUNS: Tolerance = Tolerance { share: 0.03, least: 0 };
/// Small programs: a few instructions are a large share.
const PROGRAMS: Tolerance = Tolerance { share: 0.03, least: 8 };

/// Compares, or renews the baseline; true when nothing has become worse.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let kernels: &[&str] = if arguments.all_kernels || arguments.renew { &SERIES } else { &USUAL };
    if arguments.renew {
        let old = Baseline::read().ok();
        let new = count(kernels)?;
        if let Some(old) = old {
            print!("{}", compare::table(rows(&old, &new).iter()));
        }
        println!("written: {}", new.write()?.display());
        return Ok(true);
    }
    guard(kernels, Tell::Everything).map(|tally| tally.failed == 0)
}

/// The step of `cargo xtask test`.
pub(crate) fn check() -> Result<Tally> {
    guard(&USUAL, Tell::Failures)
}

fn guard(kernels: &[&str], tell: Tell) -> Result<Tally> {
    let baseline = Baseline::read()?;
    let now = count(kernels)?;
    let rows = rows(&baseline, &now);
    ensure!(!rows.is_empty(), "nothing was counted");
    let told = |row: &&Row| tell == Tell::Everything || row.verdict != Verdict::Kept;
    print!("{}", compare::table(rows.iter().filter(told)));
    for line in baseline.taken.differ(&now.taken) {
        println!("{line}");
    }
    for (series, now) in &now.kernels {
        if let Some(before) = baseline.kernels.get(series).filter(|before| before.release != now.release) {
            println!(
                "the baseline is of Linux {}, and this is {}, so a quarter more was let pass for it",
                before.release, now.release
            );
        }
    }
    let failed = rows.iter().filter(|row| row.verdict.fails()).count();
    let better = rows.iter().filter(|row| row.verdict.is_better()).count();
    if failed > 0 {
        println!(
            "{failed} got worse or are not in the baseline; way out: make them as they were, or say why in the commit that has `cargo xtask guard --renew`"
        );
    }
    if better > 0 {
        println!("{better} got better by more than the tolerance; `cargo xtask guard --renew` keeps them so");
    }
    Ok(Tally { passed: u32::try_from(rows.len() - failed)?, failed: u32::try_from(failed)? })
}

/// Everything that a baseline has, as it is now.
fn count(kernels: &[&str]) -> Result<Baseline> {
    setup::guard()?;
    let instructions = callgrind::count()?;
    println!("  the eBPF programs");
    programs::build()?;
    let programs = object::sizes()?;
    let mut verified = BTreeMap::new();
    for kernel in kernels {
        verified.insert((*kernel).to_owned(), verified::on(kernel)?);
    }
    Ok(Baseline { taken: Circumstances::here()?, instructions, programs, kernels: verified })
}

/// A row for each number of the baseline and of now; of kernels, for those that were booted.
fn rows(baseline: &Baseline, now: &Baseline) -> Vec<Row> {
    let alike = baseline.taken == now.taken;
    let code = |tolerance: Tolerance| if alike { tolerance } else { tolerance.of_other_circumstances() };
    let mut rows =
        compare::group("instructions a record", &baseline.instructions, &now.instructions, code(RUNS));
    rows.extend(compare::group("eBPF instructions", &baseline.programs, &now.programs, code(PROGRAMS)));
    let none = Kernel::default();
    for (series, now) in &now.kernels {
        let before = baseline.kernels.get(series).unwrap_or(&none);
        let same = alike && before.release == now.release;
        let tolerance = if same { PROGRAMS } else { PROGRAMS.of_other_circumstances() };
        let group = format!("verified on {series}");
        rows.extend(compare::group(&group, &before.verified, &now.verified, tolerance));
    }
    rows
}
