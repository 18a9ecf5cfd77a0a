//! `cargo xtask bench`: how fast it is, against something that does the same.

use anyhow::Result;

mod compare;
mod libapparmor;
mod measure;
mod ours;
mod parse;
mod vm;

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
        What::Parse(arguments) => parse::run(arguments),
        What::Vm(arguments) => vm::run(arguments),
    }
}
