//! `cargo xtask bench pipeline`: what becomes of a record in an agent, without a kernel.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};

use super::figure::{Figure, Goal, Target};
use super::log;
use super::measure::{self, Contender, in_turns};
use super::ours::{self, Commit};

/// Sends recorded violations from the sources' batches through record, identity, merge and metrics, on one thread;
/// also with an earlier commit.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many violations.
    #[arg(long, value_name = "N", default_value = "500000")]
    violations: u32,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = measure::RUNS, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The commit to compare with, or `none`; otherwise the last one that differs from the working tree.
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
}

const fn rate(what: &'static str, target: Target) -> Goal {
    Goal { part: "pipeline", what, unit: "1/s", target }
}

const BOTH: Goal =
    rate("violations a second that both sources tell of, to the metrics", Target::AtLeast(500_000.0));
const EBPF: Goal = rate("the same by eBPF alone", Target::Told);
const AUDIT: Goal = rate("the same by the audit stream alone, whose processes are gone", Target::Told);
const OUTPUTS: Goal = rate("by both, to the metrics, the history and those who watch", Target::Told);
const EARLIER: Goal = Goal {
    part: "pipeline",
    what: "by both, times an earlier commit's rate",
    unit: "",
    target: Target::Told,
};

/// What is promised of the pipeline.
pub(crate) const GOALS: &[Goal] = &[BOTH, EBPF, AUDIT, OUTPUTS, EARLIER];

/// Measures the pipeline.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    let ours = ours::build()?;
    let earlier = Commit::find(arguments.against.as_deref())?;
    let earlier_program = earlier.as_ref().map(Commit::build).transpose()?.flatten();
    let recorded = log::corpus("wire", "txt")?;
    let contender = |name: &str, program: &Path, way: &str| {
        let fixed = ["pipeline", way, &arguments.violations.to_string()].map(OsString::from);
        Contender::new(name, program, fixed.into_iter().chain(recorded.iter().map(OsString::from)))
    };
    let mut contenders =
        Vec::from(["both", "ebpf", "audit", "outputs"].map(|way| contender(way, &ours, way)));
    // It may be from before this part; and then it says so at once.
    let before = earlier_program.map(|program| contender("both, earlier", &program, "both"));
    contenders.extend(before.filter(|before| before.run().is_ok()));
    let runs = in_turns(&contenders, arguments.runs)?;
    println!("\n{}", measure::table(&runs));
    let [both, ebpf, audit, outputs, rest @ ..] = runs.as_slice() else {
        bail!("the contenders have not run")
    };
    Ok(vec![
        BOTH.median(both.rates()),
        EBPF.median(ebpf.rates()),
        AUDIT.median(audit.rates()),
        OUTPUTS.median(outputs.rates()),
        match (&earlier, rest.first()) {
            (Some(commit), Some(runs)) => EARLIER.median(both.times(runs)).noting(commit.title.as_str()),
            (Some(commit), None) => EARLIER.not_measured(format!("{} cannot do this", commit.title)),
            (None, _) => EARLIER.not_measured("there is no earlier commit"),
        },
    ])
}
