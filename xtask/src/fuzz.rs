//! `cargo xtask fuzz`: libFuzzer on whatever reads bytes that a container can choose.
//!
//! The coverage that libFuzzer steers by is asked for with stable compiler flags, so any toolchain will do;
//! `fuzz/` has the layout of cargo-fuzz for those who have a nightly one and want its sanitizers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use bstr::ByteVec as _;

use crate::place;
use crate::step::Step;
use crate::vm::Tally;

/// Every target of `fuzz/Cargo.toml`.
const TARGETS: [&str; 12] = [
    "auditd",
    "journal_export",
    "journal_json",
    "kmsg",
    "line",
    "log",
    "netlink",
    "profile",
    "suggestion",
    "syslog",
    "user_avc",
    "wire",
];

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What makes the compiler count edges and comparisons for libFuzzer.
const FLAGS: [&str; 7] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Fuzzes what parses bytes from outside, each target for the same time.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    minutes: u64,
    /// A target; may be given several times [default: all].
    #[arg(long = "target", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    targets: Vec<String>,
}

/// Runs what the arguments ask for; true when nothing was found.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let targets: Vec<&str> = match &arguments.targets[..] {
        [] => TARGETS.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    let tally = play(&targets, arguments.minutes * 60)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// Every target for a minute.
pub(crate) fn smoke() -> Result<Tally> {
    play(&TARGETS, 60)
}

/// Two targets at a time: the machine that this has to fit has two cores.
fn play(targets: &[&str], seconds: u64) -> Result<Tally> {
    let programs = build()?;
    let seeds = seeds()?;
    let mut tally = Tally::default();
    for pair in targets.chunks(2) {
        println!("  fuzzing {} for {seconds} s", pair.join(" and "));
        let ends: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                pair.iter().map(|target| scope.spawn(|| fuzz(&programs, &seeds, target, seconds))).collect();
            running.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for (target, end) in pair.iter().zip(ends) {
            match end {
                Ok(Ok(summary)) => {
                    tally.passed += 1;
                    println!("  {target}: {summary}");
                }
                Ok(Err(error)) => {
                    tally.failed += 1;
                    println!("  {target}: FAIL {error:#}");
                }
                Err(_) => bail!("the thread that fuzzes {target} panicked"),
            }
        }
    }
    Ok(tally)
}

fn build() -> Result<PathBuf> {
    let folder = place::workspace().join("target/fuzz");
    let step = Step { name: "building the fuzz targets", way_out: "mend the code above" };
    step.run(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--release", "--bins", "--target", TRIPLE, "--target-dir"])
            .arg(&folder)
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
            .current_dir(place::workspace().join("fuzz")),
    )?;
    Ok(folder.join(TRIPLE).join("release"))
}

/// Runs one target; libFuzzer's own summary, or what it found and where the input is.
fn fuzz(programs: &Path, seeds: &Path, target: &str, seconds: u64) -> Result<String> {
    let corpus = place::workspace().join("target/fuzz/corpus").join(target);
    let findings = place::workspace().join("target/fuzz/findings");
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let output = Command::new(programs.join(target))
        .args([
            format!("-max_total_time={seconds}"),
            format!("-artifact_prefix={}/{target}-", findings.display()),
        ])
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"])
        .args([&corpus, &seeds.join(if target == "wire" { "wire" } else { "text" })])
        .output()
        .with_context(|| format!("starting the fuzz target {target}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    ensure!(
        output.status.success(),
        "{}\n  the input is in {}",
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n"),
        findings.display()
    );
    let runs = lines.iter().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(format!("{} inputs, nothing found", runs.map_or("?", str::trim)))
}

/// Where to begin: what kernels really sent, a file each.
fn seeds() -> Result<PathBuf> {
    let folder = place::workspace().join("target/fuzz/seeds");
    let fixtures = place::workspace().join("tests/fixtures");
    for kind in ["text", "wire"] {
        fs::create_dir_all(folder.join(kind)).context("making the folder of seeds")?;
    }
    let mut number = 0;
    let mut plant = |kind: &str, seed: &[u8]| {
        number += 1;
        let path = folder.join(kind).join(format!("{number:05}"));
        fs::write(&path, seed).with_context(|| format!("writing {}", path.display()))
    };
    for entry in fs::read_dir(fixtures.join("wire")).context("reading the recorded wire records")? {
        for line in fs::read_to_string(entry?.path())?.lines() {
            if let Some(record) = line.strip_prefix("ring ") {
                plant("wire", &Vec::unescape_bytes(record))?;
            } else if let Some(record) = line.strip_prefix("audit ") {
                plant("text", &Vec::unescape_bytes(record))?;
            }
        }
    }
    for entry in fs::read_dir(fixtures.join("records")).context("reading the recorded records")? {
        for line in fs::read(entry?.path())?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            plant("text", line)?;
        }
    }
    Ok(folder)
}
