//! Programs that time themselves, in turns, on one core.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::step::Step;

/// A program that prints a [`Run`] when asked to do something with a file.
#[derive(Debug)]
pub(crate) struct Contender {
    /// For the table.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// What it is asked to do.
    pub(crate) task: &'static str,
}

/// One reading of a whole log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) records: u64,
    pub(crate) understood: u64,
    /// Of the thread's own time.
    pub(crate) nanos: u64,
    /// How often the allocator was asked, where the program counts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) allocations: Option<u64>,
    /// The most memory it had, where the program tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peak_kib: Option<u64>,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn nanos_per_record(&self) -> f64 {
        self.nanos as f64 / self.records.max(1) as f64
    }
}

/// All runs of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Runs {
    pub(crate) name: String,
    /// Nanoseconds a record: the middle one of the runs, the fastest, the slowest.
    pub(crate) median: f64,
    pub(crate) fastest: f64,
    pub(crate) slowest: f64,
    pub(crate) runs: Vec<Run>,
}

/// Lets the contenders read a log, one after the other, so many times.
pub(crate) fn in_turns(contenders: &[Contender], log: &Path, times: u32) -> Result<Vec<Runs>> {
    pin()?;
    let mut all = vec![Vec::new(); contenders.len()];
    for _ in 0..times {
        for (contender, runs) in contenders.iter().zip(&mut all) {
            runs.push(contender.run(log)?);
        }
    }
    Ok(contenders.iter().zip(all).map(|(contender, runs)| summarise(&contender.name, runs)).collect())
}

impl Contender {
    /// One reading of a log.
    pub(crate) fn run(&self, log: &Path) -> Result<Run> {
        let step = Step { name: &self.name, way_out: "run the command by hand" };
        let end = step.finish(Command::new(&self.program).arg(self.task).arg(log))?;
        ensure!(end.success, "{}: {}", self.name, end.text());
        serde_json::from_str(&end.stdout).context("reading a bench program's result")
    }
}

fn summarise(name: &str, runs: Vec<Run>) -> Runs {
    let mut sorted: Vec<f64> = runs.iter().map(Run::nanos_per_record).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let last = sorted.len().saturating_sub(1);
    Runs { name: name.to_owned(), median: at(last / 2), fastest: at(0), slowest: at(last), runs }
}

/// Keeps this process and those it starts on one core: the last that it may use.
fn pin() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("asking for the allowed cores")?;
    let core = (0..CpuSet::count()).rev().find(|core| allowed.is_set(*core).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(core.context("there is no core to run on")?).context("choosing a core")?;
    sched_setaffinity(Pid::from_raw(0), &one).context("keeping to one core")
}

#[cfg(test)]
mod tests {
    use super::{Run, summarise};

    #[test]
    fn the_middle_run_counts() {
        let run = |nanos| Run { records: 10, understood: 10, nanos, allocations: None, peak_kib: None };
        let runs = summarise("x", vec![run(900), run(100), run(200)]);
        assert_eq!((runs.fastest, runs.median, runs.slowest), (10.0, 20.0, 90.0));
    }
}
