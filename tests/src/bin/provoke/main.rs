//! Performs one mediated operation, once or several times, and says how each attempt ended, or what it cost.
//!
//! Run under an AppArmor profile that lacks the rule for it, each attempt is a violation. The operations
//! are chosen to ask AppArmor exactly once, and to do no harm where a complain-mode profile lets them
//! through.

use std::io::Write;
use std::process::ExitCode;

use cost::Costs;
use nix::errno::Errno;

mod cost;
mod files;
mod kernel;
mod mounts;
mod processes;
mod sockets;

/// An operation: its name, the arguments it takes, and the function that performs it.
type Operation = (&'static str, &'static str, Perform);

/// What performs an operation, by the number of its arguments.
#[derive(Clone, Copy)]
enum Perform {
    Nothing(fn() -> nix::Result<()>),
    One(fn(&str) -> nix::Result<()>),
    Two(fn(&str, &str) -> nix::Result<()>),
}

const OPERATIONS: [&[Operation]; 5] =
    [files::OPERATIONS, kernel::OPERATIONS, mounts::OPERATIONS, processes::OPERATIONS, sockets::OPERATIONS];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::from(1),
        Ok(false) => ExitCode::SUCCESS,
        Err(usage) => {
            // A closed standard error must not turn a usage error into a panic.
            let _ = write!(std::io::stderr(), "{usage}");
            ExitCode::from(64)
        }
    }
}

/// Performs what the arguments ask for; `Ok(true)` when any attempt was refused.
fn run(arguments: &[&str]) -> Result<bool, String> {
    let number = |flag: &str, value: &str| {
        value.parse::<u32>().map_err(|_| format!("{flag} wants a number, not {value}\n"))
    };
    let (times, cost, rest) = match arguments {
        ["--times", times, rest @ ..] => (number("--times", times)?, false, rest),
        ["--cost", times, rest @ ..] => (number("--cost", times)?, true, rest),
        _ => (1, false, arguments),
    };
    let [name, values @ ..] = rest else {
        return Err(usage());
    };
    let Some((_, names, perform)) = operations().find(|(known, ..)| known == name) else {
        return Err(format!("no operation is called {name}\n{}", usage()));
    };
    let attempt = || match (perform, values) {
        (Perform::Nothing(perform), []) => Ok(perform()),
        (Perform::One(perform), [value]) => Ok(perform(value)),
        (Perform::Two(perform), [first, second]) => Ok(perform(first, second)),
        _ => Err(format!("usage: provoke [--times N | --cost N] {name} {names}\n")),
    };
    if cost {
        // The first attempt brings into the caches what the others find there; and says whether the
        // arguments fit.
        attempt()?.ok();
        let costs = Costs::of(times, || drop(attempt())).map_err(|error| format!("the clock: {error}\n"))?;
        let _ = writeln!(std::io::stdout(), "{} {} {}", costs.at(1, 10), costs.at(1, 2), costs.at(9, 10));
        return Ok(false);
    }
    let mut refused = false;
    for _ in 0..times {
        let end = attempt()?;
        refused |= matches!(end, Err(Errno::EACCES | Errno::EPERM));
        // Nobody may be listening, and the operation has happened either way.
        let _ = match end {
            Ok(()) => writeln!(std::io::stdout(), "{name}: ok"),
            Err(error) => writeln!(std::io::stdout(), "{name}: {error}"),
        };
    }
    Ok(refused)
}

fn operations() -> impl Iterator<Item = Operation> {
    OPERATIONS.into_iter().flatten().copied()
}

fn usage() -> String {
    let lines = operations().map(|(name, names, _)| format!("  {name} {names}\n"));
    format!(
        "usage: provoke [--times N | --cost N] OPERATION [ARGUMENT]...\n\noperations:\n{}",
        lines.collect::<String>()
    )
}
