//! Performs one mediated operation, once or several times, and says how each attempt ended.
//!
//! Run under an AppArmor profile that lacks the rule for it, each attempt is a violation. The operations
//! are chosen to ask AppArmor exactly once, and to do no harm where a complain-mode profile lets them
//! through.

use std::io::Write;
use std::process::ExitCode;

use nix::errno::Errno;

mod files;
mod kernel;
mod mounts;
mod processes;
mod sockets;
mod streams;

/// An operation: its name, the arguments it takes, and the function that performs it.
type Operation = (&'static str, &'static str, Perform);

/// What performs an operation, by the number of its arguments.
#[derive(Clone, Copy)]
enum Perform {
    Nothing(fn() -> nix::Result<()>),
    One(fn(&str) -> nix::Result<()>),
    Two(fn(&str, &str) -> nix::Result<()>),
}

const OPERATIONS: [&[Operation]; 6] = [
    files::OPERATIONS,
    kernel::OPERATIONS,
    mounts::OPERATIONS,
    processes::OPERATIONS,
    sockets::OPERATIONS,
    streams::OPERATIONS,
];

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
    let (times, rest) = match arguments {
        ["--times", times, rest @ ..] => {
            (times.parse().map_err(|_| format!("--times wants a number, not {times}\n"))?, rest)
        }
        _ => (1_u32, arguments),
    };
    let [name, values @ ..] = rest else {
        return Err(usage());
    };
    let Some((_, names, perform)) = operations().find(|(known, ..)| known == name) else {
        return Err(format!("no operation is called {name}\n{}", usage()));
    };
    let mut refused = false;
    for _ in 0..times {
        let end = match (perform, values) {
            (Perform::Nothing(perform), []) => perform(),
            (Perform::One(perform), [value]) => perform(value),
            (Perform::Two(perform), [first, second]) => perform(first, second),
            _ => return Err(format!("usage: provoke [--times N] {name} {names}\n")),
        };
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
        "usage: provoke [--times N] OPERATION [ARGUMENT]...\n\noperations:\n{}",
        lines.collect::<String>()
    )
}
