//! `cargo xtask bench parse`: the record parser against libapparmor's, and against an earlier commit; and
//! `replay` as a whole against the bare parser.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::compare::{Comparison, compare};
use super::libapparmor::Library;
use super::measure::{Contender, Run, Runs, in_turns};
use super::ours::{self, Commit};
use crate::place;
use crate::step::{self, Step};

/// Times the record parser and libapparmor's on one log, in turns, after holding what they read against
/// each other; and the parser of an earlier commit.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many records the log has.
    #[arg(long, value_name = "N", default_value = "1000000")]
    records: u32,
    /// How often each parser reads it.
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The commit to compare with, or `none`; otherwise the last one that differs from the working tree.
    #[arg(long, value_name = "REVISION")]
    against: Option<String>,
}

/// How many times as many records a second as libapparmor's parser.
const PROMISED: f64 = 10.0;
/// How much of the bare parser's rate `replay --output prom` keeps.
const PROMISED_REPLAY: f64 = 0.5;
/// By how much more memory a log may cost `replay` than a sample of it: nothing, but for pages that are touched
/// late.
const FLAT_KIB: u64 = 1024;
/// How many records of the log are compared: each recorded one some dozen times.
const COMPARED: usize = 20_000;

/// What is kept under target/bench.
#[derive(Serialize)]
struct Report<'a> {
    commit: Option<String>,
    libapparmor: &'a str,
    records: u32,
    ratio: f64,
    replay: f64,
    ratio_to_earlier: Option<f64>,
    earlier: Option<&'a str>,
    runs: &'a [Runs],
}

/// Runs it; true when the promises are kept.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let ours = ours::build()?;
    let library = Library::get()?;
    let theirs = library.build()?;
    let earlier = Commit::find(arguments.against.as_deref())?;
    let earlier_program = earlier.as_ref().map(Commit::build).transpose()?.flatten();
    let log = make(&ours, arguments.records)?;

    let found = hold_against(&ours, &theirs, &log)?;
    tell(&found, &library.version);

    let contender =
        |name: &str, program: &Path, task| Contender { name: name.into(), program: program.into(), task };
    let replayer = contender("replay --output prom", &ours, "replay");
    let memory = Memory::of(&replayer, &sample(), &log)?;
    let mut contenders =
        vec![contender("aa-monitor", &ours, "time"), contender("libapparmor", &theirs, "time"), replayer];
    contenders.extend(earlier_program.map(|program| contender("aa-monitor, earlier", &program, "time")));
    let runs = in_turns(&contenders, &log, arguments.runs)?;
    let [us, them, whole, rest @ ..] = runs.as_slice() else { return Ok(false) };
    let (ratio, replay) = (them.median / us.median, us.median / whole.median);
    let ratio_to_earlier = rest.first().map(|earlier| earlier.median / us.median);
    println!("\n{:<20} {:>10} {:>20} {:>14}", "parser", "ns/record", "fastest - slowest", "records/s");
    for Runs { name, median, fastest, slowest, .. } in &runs {
        println!(
            "{name:<20} {median:>10.1} {:>20} {:>14.0}",
            format!("{fastest:.1} - {slowest:.1}"),
            1e9 / median
        );
    }
    println!("\n{ratio:.1} times libapparmor {} (promised: {PROMISED})", library.version);
    match (&earlier, ratio_to_earlier) {
        (Some(commit), Some(ratio)) => println!("{ratio:.2} times {}", commit.title),
        (Some(commit), None) => println!("{} has no bench program to compare with", commit.title),
        (None, _) => {}
    }
    let allocations = us.runs.iter().filter_map(|run| run.allocations).max().unwrap_or(u64::MAX);
    println!("{allocations} allocations for {} records (promised: 0)", arguments.records);
    println!("replay: {replay:.2} of the bare parser's rate (promised: {PROMISED_REPLAY}); {memory}");

    let report = Report {
        commit: Commit::find(Some("HEAD"))?.map(|commit| commit.hash),
        libapparmor: &library.version,
        records: arguments.records,
        ratio,
        replay,
        ratio_to_earlier,
        earlier: earlier.as_ref().map(|commit| commit.hash.as_str()),
        runs: &runs,
    };
    let path = place::bench().join("parse.json");
    step::write(&path, serde_json::to_string_pretty(&report)?)?;
    println!("details: {}", path.display());
    let kept = ratio >= PROMISED && allocations == 0 && replay >= PROMISED_REPLAY && memory.is_flat();
    Ok(found.unexplained.is_empty() && kept)
}

/// What `replay` asks for in a sample of the log and in all of it.
#[derive(Debug)]
struct Memory {
    sample: Run,
    all: Run,
}

impl Memory {
    fn of(replayer: &Contender, sample: &Path, log: &Path) -> Result<Self> {
        Ok(Self { sample: replayer.run(sample)?, all: replayer.run(log)? })
    }

    fn is_flat(&self) -> bool {
        let (Some(sample), Some(all)) = (self.sample.peak_kib, self.all.peak_kib) else { return false };
        all <= sample + FLAT_KIB
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sample, all } = self;
        let kib = |run: &Run| run.peak_kib.unwrap_or_default();
        let asked = |run: &Run| run.allocations.unwrap_or_default();
        write!(
            f,
            "{} KiB and {} allocations for {} records, {} KiB and {} for {}",
            kib(sample),
            asked(sample),
            sample.records,
            kib(all),
            asked(all),
            all.records
        )
    }
}

/// The records that are compared.
fn sample() -> PathBuf {
    place::bench().join("sample.log")
}

/// The log; made anew when the program that makes it or the corpus has changed.
fn make(program: &Path, records: u32) -> Result<PathBuf> {
    let folder = place::workspace().join("tests/fixtures/records");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut corpus: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    corpus.sort();
    let log = place::bench().join(format!("records-{records}.log"));
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let made = time(&log);
    let old = |path: &Path| made.is_none() || time(path) > made;
    if old(program) || corpus.iter().any(|path| old(path)) {
        let step = Step { name: "making the log", way_out: "check the free space under target" };
        step.run(Command::new(program).args(["make", &records.to_string()]).arg(&log).args(corpus))?;
    }
    Ok(log)
}

fn hold_against(ours: &Path, theirs: &Path, log: &Path) -> Result<Comparison> {
    let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    let compared: String = text.split_inclusive('\n').take(COMPARED).collect();
    let path = sample();
    step::write(&path, &compared)?;
    let step = Step { name: "telling what the records say", way_out: "run the command by hand" };
    let told = |program: &Path| step.run(Command::new(program).arg("tell").arg(&path));
    let found = compare(&compared, &told(ours)?, &told(theirs)?)?;
    ensure!(found.records > 0, "there is no record to compare");
    Ok(found)
}

fn tell(found: &Comparison, version: &str) {
    let Comparison { records, shapes, same, explained, unexplained } = found;
    println!("{records} records of {shapes} shapes compared with libapparmor {version}: {same} are the same");
    for (why, records) in explained {
        println!("  {records:>6}  it {why}");
    }
    for difference in unexplained.iter().take(5) {
        println!("  unexplained: {difference}");
    }
    if unexplained.len() > 5 {
        println!("  and {} more", unexplained.len() - 5);
    }
}
