//! `cargo xtask bench parse`: the record parser against libapparmor's, and against an earlier commit.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::compare::{Comparison, compare};
use super::figure::{Figure, Goal, Target};
use super::libapparmor::Library;
use super::log;
use super::measure::{self, Contender, Runs, in_turns};
use super::ours::{self, Commit};
use crate::place;
use crate::step::{self, Step};

/// Times the record parser and libapparmor's on one log, in turns, after holding what they read against
/// each other; and the parser of an earlier commit.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many records the log has.
    #[arg(long, value_name = "N", default_value_t = log::RECORDS)]
    records: u32,
    /// How often each parser reads it.
    #[arg(long, value_name = "N", default_value_t = measure::RUNS, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The commit to compare with, or `none`; otherwise the last one that differs from the working tree.
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
}

const PART: &str = "parse";
const UNEXPLAINED: Goal = Goal {
    part: PART,
    what: "records that libapparmor reads otherwise, for no known reason",
    unit: "",
    target: Target::AtMost(0.0),
};
const RATIO: Goal = Goal {
    part: PART,
    what: "records a second, times libapparmor's",
    unit: "",
    target: Target::AtLeast(10.0),
};
const RATE: Goal = Goal { part: PART, what: "records a second", unit: "1/s", target: Target::Told };
const EARLIER: Goal =
    Goal { part: PART, what: "records a second, times an earlier commit's", unit: "", target: Target::Told };
const ALLOCATIONS: Goal = Goal { part: PART, what: "allocations", unit: "", target: Target::AtMost(0.0) };

/// What is promised of the parser.
pub(crate) const GOALS: &[Goal] = &[UNEXPLAINED, RATIO, RATE, EARLIER, ALLOCATIONS];

/// How many records of the log are compared: each recorded one some dozen times.
const COMPARED: usize = 20_000;

/// What is kept under target/bench beside the figures.
#[derive(Serialize)]
struct Report<'a> {
    commit: Option<String>,
    libapparmor: &'a str,
    records: u32,
    earlier: Option<&'a str>,
    runs: &'a [Runs],
}

/// Measures the parser.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    let ours = ours::build()?;
    let library = Library::get()?;
    let theirs = library.build()?;
    let earlier = Commit::find(arguments.against.as_deref())?;
    let earlier_program = earlier.as_ref().map(Commit::build).transpose()?.flatten();
    let log = log::make(&ours, arguments.records)?;

    let found = hold_against(&ours, &theirs, &log)?;
    tell(&found, &library.version);

    let contender = |name: &str, program: &Path| Contender::new(name, program, [Path::new("time"), &log]);
    let mut contenders = vec![contender("aa-monitor", &ours), contender("libapparmor", &theirs)];
    contenders.extend(earlier_program.map(|program| contender("aa-monitor, earlier", &program)));
    let runs = in_turns(&contenders, arguments.runs)?;
    println!("\n{}", measure::table(&runs));
    let report = Report {
        commit: Commit::find(Some("HEAD"))?.map(|commit| commit.hash),
        libapparmor: &library.version,
        records: arguments.records,
        earlier: earlier.as_ref().map(|commit| commit.hash.as_str()),
        runs: &runs,
    };
    let path = place::bench().join("parse.json");
    step::write(&path, serde_json::to_string_pretty(&report)?)?;
    println!("details: {}", path.display());

    let [us, them, rest @ ..] = runs.as_slice() else { bail!("the contenders have not run") };
    let allocations = us.runs.iter().filter_map(|run| run.allocations).max().unwrap_or(u64::MAX);
    let against = format!("libapparmor {}", library.version);
    Ok(vec![
        UNEXPLAINED.measured(found.unexplained.len() as f64).noting(against.as_str()),
        RATIO.median(us.times(them)).noting(against),
        RATE.median(us.rates()),
        match (&earlier, rest.first()) {
            (Some(commit), Some(runs)) => EARLIER.median(us.times(runs)).noting(commit.title.as_str()),
            (Some(commit), None) => EARLIER.not_measured(format!("{} has no bench program", commit.title)),
            (None, _) => EARLIER.not_measured("there is no earlier commit"),
        },
        ALLOCATIONS.measured(allocations as f64).noting(format!("for {} records", arguments.records)),
    ])
}

fn hold_against(ours: &Path, theirs: &Path, log: &Path) -> Result<Comparison> {
    let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    let compared: String = text.split_inclusive('\n').take(COMPARED).collect();
    let path = log::sample();
    step::write(&path, &compared)?;
    let step = Step { name: "telling what the records say", way_out: "run the command by hand" };
    let told = |program: &Path| step.run(Command::new(program).arg("tell").arg(&path));
    let found = compare(&compared, &told(ours)?, &told(theirs)?)?;
    ensure!(found.records > 0, "there is no record to compare");
    Ok(found)
}

fn tell(found: &Comparison, version: &str) {
    let Comparison { records, shapes, same, explained, unexplained } = found;
    println!("{records} records of {shapes} shapes compared with libapparmor {version}: {same} are the same");
    for (why, records) in explained {
        println!("  {records:>6}  it {why}");
    }
    for difference in unexplained.iter().take(5) {
        println!("  unexplained: {difference}");
    }
    if unexplained.len() > 5 {
        println!("  and {} more", unexplained.len() - 5);
    }
}
