//! What `cargo xtask bench` runs.
//!
//! ```text
//! aa-monitor-bench make RECORDS OUT CORPUS..   a log of so many records of the recorded mix
//! aa-monitor-bench tell FILE                   what each record says, a line each
//! aa-monitor-bench time FILE                   how long reading all of them takes
//! aa-monitor-bench replay FILE                 how long counting all of them takes, file and all
//! aa-monitor-bench pipeline WAY N RECORDED..   how long an agent's pipeline takes for so many violations
//! aa-monitor-bench scrape N                    how long so many scrapes of all series take
//! aa-monitor-bench count WORKLOAD ..           a workload whose instructions callgrind counts
//! ```
//!
//! `tell` and `time` are also what the program around libapparmor's parser (libapparmor.c) does, with the
//! same output, so that the two can be held against each other.

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

mod allocations;
mod counted;
mod dice;
mod mix;
mod pipeline;
mod replay;
mod scrape;
mod tell;
mod time;
mod traffic;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["make", records, out, corpus @ ..] => {
            let corpus = corpus.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
            let mix = mix::Mix::of(corpus.iter().map(Vec::as_slice))?;
            mix.write(number(records)?, out).with_context(|| format!("writing {out}"))
        }
        ["tell", file] => tell::all(&read(file)?),
        ["time", file] => time::all(&read(file)?),
        ["replay", file] => replay::all(file),
        ["pipeline", way, violations, recorded @ ..] => {
            pipeline::run(pipeline::Way::named(way)?, number(violations)?, &texts(recorded)?)
        }
        ["scrape", scrapes] => scrape::run(number(scrapes)?),
        ["count", workload @ ..] => counted::run(workload),
        _ => bail!(
            "usage: aa-monitor-bench make RECORDS OUT CORPUS.. | tell FILE | time FILE | replay FILE | \
             pipeline WAY VIOLATIONS RECORDED.. | scrape TIMES | count WORKLOAD .."
        ),
    }
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {path}"))
}

fn texts(paths: &[&str]) -> Result<Vec<String>> {
    let text = |path: &&str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    paths.iter().map(text).collect()
}

fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text} is no number"))
}

/// The lines of a log.
fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}
