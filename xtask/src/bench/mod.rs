//! `cargo xtask bench`: how fast it is, against something that does the same.
//!
//! Each part has its goals as constants and one function that measures them; what it comes to is a table, JSON under
//! target/bench/figures, and docs/performance.md.

use anyhow::{Result, ensure};

mod compare;
mod figure;
mod guest;
mod libapparmor;
pub(crate) mod log;
mod measure;
pub(crate) mod ours;
pub(crate) mod page;
mod parse;
mod peers;
mod pipeline;
mod replay;
mod scrape;
mod size;
mod taken;
mod vm;
mod what;

use self::figure::Figure;
use self::taken::Taken;
use self::what::What;
use crate::place;
use crate::step;

/// Measures, and fails where a promise is not kept.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Every part, with a table of all figures, and docs/performance.md written from them.
    #[arg(long)]
    all: bool,
    /// Writes docs/performance.md from what was measured last, and measures nothing.
    #[arg(long, conflicts_with = "all")]
    page: bool,
    #[command(subcommand)]
    what: Option<What>,
}

/// Runs what the arguments ask for; true when the promises are kept.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    match &arguments.what {
        Some(what) => {
            let figures = measure(what)?;
            println!("\n{}", figure::table(&figures));
            Ok(figure::kept(&figures))
        }
        None if arguments.page => page::write().map(|()| true),
        None => all(),
    }
}

/// Measures a part and keeps what it comes to.
fn measure(what: &What) -> Result<Vec<Figure>> {
    let figures = what.measure()?;
    for goal in what.goals() {
        ensure!(figures.iter().any(|figure| figure.is_of(goal)), "{} has no figure", goal.what);
    }
    Taken::now(figures.clone())?.keep(what.name())?;
    Ok(figures)
}

/// Measures every part, also after one that could not be measured.
fn all() -> Result<bool> {
    let (mut figures, mut whole) = (Vec::new(), true);
    for what in What::all() {
        println!("\n{}:", what.name());
        match measure(&what) {
            Ok(measured) => figures.extend(measured),
            Err(error) => {
                println!("{error:#}");
                whole = false;
                let failed: Vec<_> = what.goals().iter().map(|goal| goal.not_measured("it failed")).collect();
                Taken::now(failed.clone())?.keep(what.name())?;
                figures.extend(failed);
            }
        }
    }
    let path = place::bench().join("all.json");
    step::write(&path, serde_json::to_string_pretty(&figures)?)?;
    println!("\n{}\nfigures: {}", figure::table(&figures), path.display());
    page::write()?;
    Ok(whole && figure::kept(&figures))
}
