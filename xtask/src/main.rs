//! The project's own tasks. `cargo xtask --help` lists them; each has a file of its own.

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod deploy;
mod dist;
mod fuzz;
mod guard;
mod lab;
mod observe;
mod pictures;
mod place;
mod run;
mod setup;
mod step;
mod suggestions;
mod test;
mod vm;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
enum Task {
    Run(run::Arguments),
    Test(test::Arguments),
    Bench(bench::Arguments),
    Deploy(deploy::Arguments),
    Dist(dist::Arguments),
    Fuzz(fuzz::Arguments),
    Guard(guard::Arguments),
    Pictures(pictures::Arguments),
    /// Brings what building, the lab and the checks need; the other tasks call it themselves.
    Setup,
    /// Has AppArmor's parser read what is suggested for the recorded logs.
    Suggestions,
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let end = match Task::parse() {
        Task::Run(arguments) => run::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Deploy(arguments) => deploy::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Guard(arguments) => guard::run(&arguments),
        Task::Pictures(arguments) => pictures::run(&arguments),
        Task::Setup => setup::run(),
        Task::Suggestions => suggestions::run(),
        Task::Vm(arguments) => vm::run(&arguments),
    };
    match end {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
