//! `cargo xtask test`: everything that must hold before a change goes in, by one command.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::bench::page;
use crate::deploy;
use crate::fuzz;
use crate::guard;
use crate::lab::rig;
use crate::lab::suite::{self, SUITES};
use crate::lab::{kernel, live, matrix, sre};
use crate::observe;
use crate::place;
use crate::setup::{self, CARGO_DENY};
use crate::step::Step;
use crate::suggestions;
use crate::vm::{self, Tally, Tell};

/// Format, lints, licences, unit and black-box tests, the lab's suites, and what promtool says of a scrape.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also every suite on every kernel, the documentation, and the build without eBPF.
    #[arg(long)]
    all: bool,
}

/// Runs every step, also after one that failed; true when all held.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    setup::all()?;
    let mut tally = Tally::default();
    let mut step = |name: &str, part: &mut dyn FnMut() -> Result<Tally>| {
        let start = Instant::now();
        let (part, error) = match part() {
            Ok(part) => (part, None),
            Err(error) => (Tally { passed: 0, failed: 1 }, Some(error)),
        };
        let word = if part.failed == 0 { "ok" } else { "FAIL" };
        println!(
            "{word:<5} {name} ({} passed, {} failed, {} s)",
            part.passed,
            part.failed,
            start.elapsed().as_secs()
        );
        if let Some(error) = error {
            println!("{error:#}");
        }
        tally += part;
    };

    step("format", &mut || cargo("format", &["fmt", "--all", "--check"], "cargo fmt --all"));
    step("lints", &mut || {
        let flags =
            ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"];
        cargo("lints", &flags, "mend what clippy names")
    });
    step("licences, bans, sources", &mut licences);
    step("unit and black-box tests", &mut tests);
    step("rules and dashboards, as Prometheus and Grafana read them", &mut observe::check);
    step("chart and kustomize, as Helm and Kubernetes read them", &mut deploy::check);
    step("docs/kernels.md has every kernel and suite", &mut matrix::check);
    step("docs/performance.md has every goal", &mut page::check);
    step("apparmor_parser on what is suggested", &mut suggestions::play);
    step("fuzz: a minute a target", &mut fuzz::smoke);
    step("instructions, against bench/baseline.toml", &mut guard::check);
    if arguments.all {
        step("documentation", &mut documentation);
        step("build without eBPF", &mut || {
            let flags = ["check", "--package", "aa-monitor", "--no-default-features", "--locked", "--quiet"];
            cargo("build without eBPF", &flags, "mind the feature `ebpf`")
        });
    }
    let kernels: &[&str] = if arguments.all { &kernel::SERIES } else { &kernel::USUAL };
    for kernel in kernels {
        for suite in SUITES.iter().filter(|suite| arguments.all || usual(suite.name, kernel)) {
            step(&format!("lab: {} on {kernel}", suite.name), &mut || {
                vm::play(kernel, *suite, Tell::Failures)
            });
        }
        step(&format!("promtool on the scrape from {kernel}"), &mut || scrape(kernel));
    }
    step("the agent in the lab, seen from this host", &mut || live::play("6.1"));
    match sre::exercised("6.1") {
        Ok(words) => println!("sre: {words}"),
        Err(error) => println!("sre: nothing was exercised: {error:#}"),
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// Whether a suite is played with every change. The others take minutes each, and so does `identity`, for
/// which one kernel has to do.
fn usual(suite: &str, kernel: &str) -> bool {
    match suite {
        "smoke" | "containers" | "kubernetes" => true,
        "identity" | "sre" => kernel == "6.1",
        _ => false,
    }
}

const ONE: Tally = Tally { passed: 1, failed: 0 };

fn cargo(name: &str, arguments: &[&str], way_out: &str) -> Result<Tally> {
    let end = Step { name, way_out };
    end.run(Command::new(env!("CARGO")).args(arguments).current_dir(place::workspace()))?;
    Ok(ONE)
}

fn licences() -> Result<Tally> {
    let step =
        Step { name: "licences, bans, sources", way_out: "choose another crate, or justify it in deny.toml" };
    let arguments = ["--offline", "--log-level", "error", "check", "licenses", "bans", "sources"];
    step.run(Command::new(CARGO_DENY.path()).args(arguments).current_dir(place::workspace()))?;
    Ok(ONE)
}

fn documentation() -> Result<Tally> {
    let step = Step { name: "documentation", way_out: "mend what rustdoc names" };
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"];
    let mut command = Command::new(env!("CARGO"));
    step.run(command.args(arguments).env("RUSTDOCFLAGS", "--deny warnings").current_dir(place::workspace()))?;
    Ok(ONE)
}

/// `cargo test`, each test counted.
fn tests() -> Result<Tally> {
    let step = Step { name: "unit and black-box tests", way_out: "mend what fails" };
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).current_dir(place::workspace());
    let end = step.finish(&mut command)?;
    let tally = count(&end.stdout);
    if !end.success {
        println!("{:#}", step.failure(&command, &failures(&end.text())));
    }
    ensure!(end.success || tally.failed > 0, "the tests cannot be built");
    Ok(tally)
}

/// Adds up the `test result:` lines of several test programs.
fn count(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output.lines().filter(|line| line.starts_with("test result: ")) {
        let number = |word: &str| {
            let before = line.split(word).next()?;
            before.rsplit(' ').next()?.parse::<u32>().ok()
        };
        tally += Tally { passed: number(" passed").unwrap_or(0), failed: number(" failed").unwrap_or(0) };
    }
    tally
}

/// Of a test run's output, what is not about tests that passed.
fn failures(output: &str) -> String {
    let dull = |line: &str| line.is_empty() || line.starts_with("test ") && line.ends_with("... ok");
    output.lines().filter(|line| !dull(line)).collect::<Vec<_>>().join("\n")
}

/// What promtool says of the scrape that the smoke suite left behind.
fn scrape(kernel: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    for boot in suite::find("smoke")?.boots.iter().filter(|boot| boot.scenario == "smoke") {
        let path = rig::logs(kernel, boot).join("metrics.prom");
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        live::promtool(&text).with_context(|| format!("promtool on {}", path.display()))?;
        tally += ONE;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::{count, failures};

    #[test]
    fn test_results_add_up() {
        let output = "running 2 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n\
                      test result: FAILED. 10 passed; 3 failed; 1 ignored; 0 measured\nverdict: 7 passed\n";
        let tally = count(output);
        assert_eq!((tally.passed, tally.failed), (12, 3));
    }

    #[test]
    fn passing_tests_are_not_shown_with_a_failure() {
        let output = "test a ... ok\ntest b ... FAILED\n\n---- b stdout ----\npanicked at x\n";
        assert_eq!(failures(output), "test b ... FAILED\n---- b stdout ----\npanicked at x");
    }
}
