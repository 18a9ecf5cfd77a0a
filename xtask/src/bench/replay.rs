//! `cargo xtask bench replay`: the whole program, from a log to Prometheus text, against what libapparmor needs to
//! parse the same records and do nothing with them.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figure::{Figure, Goal, Target};
use super::libapparmor::Library;
use super::log;
use super::measure::{self, Contender};
use super::ours;
use crate::step::Step;

/// Has `aa-monitor replay --output prom` count a log, in turns with the parser alone and with libapparmor's.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many records the log has.
    #[arg(long, value_name = "N", default_value_t = log::RECORDS)]
    records: u32,
    /// How often it is read.
    #[arg(long, value_name = "N", default_value_t = measure::RUNS, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

const fn ratio(what: &'static str, target: Target) -> Goal {
    Goal { part: "replay", what, unit: "", target }
}

const TO_LIBRARY: Goal =
    ratio("file to Prometheus text, of the time libapparmor takes merely to parse", Target::AtMost(0.2));
const TO_PARSER: Goal = ratio("of the bare parser's rate", Target::AtLeast(0.5));
const RATE: Goal = Goal { part: "replay", what: "records a second", unit: "1/s", target: Target::Told };
const MEMORY: Goal = Goal {
    part: "replay",
    what: "memory for all records beyond that for a fiftieth of them",
    unit: "KiB",
    // Nothing, but for pages that are touched late.
    target: Target::AtMost(1024.0),
};

/// What is promised of `replay`.
pub(crate) const GOALS: &[Goal] = &[TO_LIBRARY, TO_PARSER, RATE, MEMORY];

/// Measures it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    let (bench, agent) = (ours::build()?, ours::agent()?);
    let library = Library::get()?;
    let theirs = library.build()?;
    let log = log::make(&bench, arguments.records)?;
    let fewer = log::make(&bench, arguments.records.div_ceil(50))?;
    let counted = counted(&agent, &log)?;
    ensure!(
        counted == u64::from(arguments.records),
        "{counted} of {} records were counted",
        arguments.records
    );

    let timed = |name, program: &Path, task: &str, log: &Path| {
        Contender::new(name, program, [OsString::from(task), log.into()])
    };
    let parser = timed("the parser", &bench, "time", &log);
    let library_parser = timed("libapparmor", &theirs, "time", &log);
    let (mut to_library, mut to_parser, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.runs {
        let spent = measure::whole(&mut replay(&agent, &log))?;
        let [parsed, library_parsed] = [&parser, &library_parser].map(Contender::run);
        let seconds = |nanos| Duration::from_nanos(nanos).as_secs_f64();
        to_library.push(spent.as_secs_f64() / seconds(library_parsed?.nanos));
        to_parser.push(seconds(parsed?.nanos) / spent.as_secs_f64());
        rates.push(f64::from(arguments.records) / spent.as_secs_f64());
    }
    let peak =
        |log: &Path| timed("replay", &bench, "replay", log).run().map(|run| run.peak_kib.unwrap_or(u64::MAX));
    let beyond = peak(&log)? as f64 - peak(&fewer)? as f64;
    Ok(vec![
        TO_LIBRARY.median(to_library).noting(format!("libapparmor {}", library.version)),
        TO_PARSER.median(to_parser),
        RATE.median(rates).noting(format!("{} records", arguments.records)),
        MEMORY.measured(beyond.max(0.0)),
    ])
}

fn replay(agent: &Path, log: &Path) -> Command {
    let mut command = Command::new(agent);
    command.args(["replay", "--output", "prom"]).arg(log);
    command
}

/// How many events it tells of: a program that reads less is no yardstick.
fn counted(agent: &Path, log: &Path) -> Result<u64> {
    let step = Step { name: "replay", way_out: "run the command by hand" };
    let text = step.run(&mut replay(agent, log))?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("apparmor_events_total{")?.rsplit_once("} "));
    let values = rows.map(|(_, value)| value.parse::<f64>().context("a counter's value"));
    Ok(values.sum::<Result<f64>>()? as u64)
}
