//! `cargo xtask fuzz`: libFuzzer on whatever reads bytes that a container can choose.
//!
//! The coverage that libFuzzer steers by is asked for with stable compiler flags, so any toolchain will do;
//! `fuzz/` has the layout of cargo-fuzz for those who have a nightly one and want its sanitizers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::clean::Clean;
use self::seeds::Seeds;
use crate::place;
use crate::setup;
use crate::step::Step;
use crate::vm::Tally;

mod clean;
mod seeds;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "fuzz";

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

/// The machine that this has to fit has two cores.
const AT_ONCE: usize = 2;

/// Fuzzes what parses bytes from outside: two targets at once, each for the same time.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs; so ten of them at 10 minutes take 50, two at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    minutes: u64,
    /// A target, a file of fuzz/targets; may be given several times [default: all].
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
}

/// Runs what the arguments ask for; true when nothing was found.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    setup::fuzz()?;
    let known = targets()?;
    let targets = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    if let Some(wrong) = targets.iter().find(|target| !known.contains(target)) {
        bail!("no fuzz target is called {wrong}; there are {}", known.join(", "));
    }
    let programs = build()?;
    let tally = play(&programs, &Seeds::plant()?, targets, Duration::from_secs(arguments.minutes * 60))?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// What reads bytes in the agent's own way is fuzzed with every change; what a profile's author runs on a log
/// (`suggest`) by `cargo xtask fuzz`.
const ON_DEMAND: [&str; 2] = ["profile", "suggestion"];

/// Every target for a minute, but for those whose very program has had its minute, and for [`ON_DEMAND`].
pub(crate) fn smoke() -> Result<Tally> {
    const MINUTE: Duration = Duration::from_secs(60);
    let (programs, seeds, clean) = (build()?, Seeds::plant()?, Clean::open()?);
    let (mut tally, mut due, mut done) = (Tally::default(), Vec::new(), Vec::new());
    for target in targets()?.into_iter().filter(|target| !ON_DEMAND.contains(&target.as_str())) {
        let is_done = clean.has(&target, &programs.join(&target), &seeds.of(&target))?;
        if is_done { &mut done } else { &mut due }.push(target);
    }
    if !done.is_empty() {
        println!("  already fuzzed this build of {}", done.join(", "));
        tally.passed += u32::try_from(done.len())?;
    }
    for pair in due.chunks(AT_ONCE) {
        let part = play(&programs, &seeds, pair, MINUTE)?;
        if part.failed == 0 {
            for target in pair {
                clean.note(target, &programs.join(target), &seeds.of(target))?;
            }
        }
        tally += part;
    }
    Ok(tally)
}

/// The files of fuzz/targets.
fn targets() -> Result<Vec<String>> {
    let folder = place::workspace().join("fuzz/targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut targets: Vec<_> = names.filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned())).collect();
    targets.sort();
    ensure!(!targets.is_empty(), "there is no target in {}", folder.display());
    Ok(targets)
}

/// Runs targets, [`AT_ONCE`] at a time.
fn play(programs: &Path, seeds: &Seeds, targets: &[String], time: Duration) -> Result<Tally> {
    let mut tally = Tally::default();
    for group in targets.chunks(AT_ONCE) {
        println!("  fuzzing {} for {} s", group.join(" and "), time.as_secs());
        let ends: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = group
                .iter()
                .map(|target| {
                    scope.spawn(move || fuzz(&programs.join(target), &seeds.of(target), target, time))
                })
                .collect();
            running.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for (target, end) in group.iter().zip(ends) {
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
    let folder = place::fuzz();
    let step = Step { name: "building the fuzz targets", way_out: "mend the code above" };
    step.run(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package", "aa-monitor-fuzz", "--bins"])
            .args(["--features", "libfuzzer", "--profile", PROFILE, "--target", TRIPLE, "--target-dir"])
            .arg(&folder)
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
            .current_dir(place::workspace()),
    )?;
    Ok(folder.join(TRIPLE).join(PROFILE))
}

/// Runs one target; libFuzzer's own summary, or what it found and where the input is.
fn fuzz(program: &Path, seeds: &Path, target: &str, time: Duration) -> Result<String> {
    let corpus = place::fuzz().join("corpus").join(target);
    let findings = place::fuzz().join("findings");
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let output = Command::new(program)
        .args([
            format!("-max_total_time={}", time.as_secs()),
            format!("-artifact_prefix={}/{target}-", findings.display()),
        ])
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"])
        .args([corpus.as_path(), seeds])
        .output()
        .with_context(|| {
            format!("starting {}; has {target} its lines in fuzz/Cargo.toml?", program.display())
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    ensure!(output.status.success(), "{}\n  the input is in {}", complaint(&lines), findings.display());
    let runs = lines.iter().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(format!("{} inputs, nothing found", runs.map_or("?", str::trim)))
}

/// Of all that libFuzzer says at the end, what was found: the panic's place and message, and its own verdict.
fn complaint(lines: &[&str]) -> String {
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let said = panic.map_or(&[][..], |at| lines.get(at..(at + 3).min(lines.len())).unwrap_or_default());
    let verdict =
        lines.iter().filter(|line| line.starts_with("SUMMARY: ") || line.contains("Test unit written"));
    said.iter().chain(verdict).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn what_was_found_is_told_without_the_frames() {
        let said = "INFO: seed\nthread '<unnamed>' (1) panicked at fuzz/src/lib.rs:95:5:\naudit(1.002:3): x\n\
                    stack backtrace:\n  0: main\n==1== ERROR: libFuzzer: deadly signal\n\
                    SUMMARY: libFuzzer: deadly signal\nMS: 2 CopyPart\n\
                    artifact_prefix='f/'; Test unit written to f/line-crash-1\nstat::peak_rss_mb: 98";
        let lines: Vec<_> = said.lines().collect();
        let told = complaint(&lines);
        for part in
            ["panicked at fuzz/src/lib.rs:95:5:\naudit(1.002:3): x", "deadly signal", "f/line-crash-1"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("0: main"), "{told}");
        assert_eq!(complaint(&["SUMMARY: libFuzzer: timeout"]), "SUMMARY: libFuzzer: timeout");
    }
}
