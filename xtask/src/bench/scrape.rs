//! `cargo xtask bench scrape`: what Prometheus costs the node each time it asks.

use anyhow::{Result, bail};

use super::figure::{Figure, Goal, Target};
use super::measure::{self, Contender, in_turns};
use super::ours;

/// Scrapes as many series as an agent keeps, over HTTP.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many scrapes a run has.
    #[arg(long, value_name = "N", default_value = "50")]
    scrapes: u32,
    /// How many runs.
    #[arg(long, value_name = "N", default_value_t = measure::RUNS, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

const TIME: Goal = Goal {
    part: "scrape",
    what: "CPU for a scrape of 5,000 series, the client's included",
    unit: "ms",
    target: Target::AtMost(20.0),
};

/// What is promised of a scrape.
pub(crate) const GOALS: &[Goal] = &[TIME];

/// Measures it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    let program = ours::build()?;
    let contender = Contender::new("scrape", &program, ["scrape", &arguments.scrapes.to_string()]);
    let all = in_turns(&[contender], arguments.runs)?;
    let [runs] = all.as_slice() else { bail!("it has not run") };
    let series = runs.runs.first().map_or(0, |run| run.understood);
    let times = runs.runs.iter().map(|run| run.nanos_per_record() / 1e6).collect();
    Ok(vec![TIME.median(times).noting(format!("{series} series"))])
}
