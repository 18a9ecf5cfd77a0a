//! `cargo xtask bench`: how fast it is, against something that does the same.
//!
//! Each part has its goals as constants and one function that measures them; what it comes to is a table, and
//! JSON under target/bench/figures.

use anyhow::{Result, ensure};

mod compare;
mod figure;
mod libapparmor;
mod log;
mod measure;
mod ours;
mod parse;
mod vm;

use self::figure::{Figure, Goal};
use crate::place;
use crate::step;

/// Measures, and fails where a promise is not kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Parse(parse::Arguments),
    Vm(vm::Arguments),
}

/// Runs what the arguments ask for; true when the promises are kept.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    match &arguments.what {
        What::Parse(arguments) => tell(parse::GOALS, &parse::measure(arguments)?),
        What::Vm(arguments) => tell(vm::GOALS, &vm::measure(arguments)?),
    }
}

/// Prints the figures of a part and keeps them; true when nothing that is promised is missed.
fn tell(goals: &[Goal], figures: &[Figure]) -> Result<bool> {
    for goal in goals {
        ensure!(figures.iter().any(|figure| figure.is_of(goal)), "{} has no figure", goal.what);
        let path = place::bench().join("figures").join(format!("{}.json", goal.part));
        step::write(&path, serde_json::to_string_pretty(figures)?)?;
    }
    println!("\n{}", figure::table(figures));
    Ok(figure::kept(figures))
}
