//! Programs that time themselves, in turns, on one core.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::step::Step;

/// How often each contender runs, unless asked otherwise.
pub(crate) const RUNS: u32 = 7;

/// A program that prints a [`Run`].
#[derive(Debug)]
pub(crate) struct Contender {
    /// For the table.
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// What one run did, and how long it took.
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
    pub(crate) fn nanos_per_record(&self) -> f64 {
        self.nanos as f64 / self.records.max(1) as f64
    }
}

/// All runs of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Runs {
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
}

impl Runs {
    /// Records a second, of each run.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.runs.iter().map(|run| 1e9 / run.nanos_per_record()).collect()
    }

    /// How many times as fast as `other` each run was; both ran in the same turn, so what else the machine does
    /// slows both.
    pub(crate) fn times(&self, other: &Self) -> Vec<f64> {
        let pairs = self.runs.iter().zip(&other.runs);
        pairs.map(|(us, them)| them.nanos_per_record() / us.nanos_per_record()).collect()
    }
}

/// For a terminal: what each contender took.
pub(crate) fn table(all: &[Runs]) -> String {
    let mut text = format!("{:<28} {:>10} {:>22} {:>14}", "", "ns/record", "fastest - slowest", "records/s");
    for Runs { name, runs } in all {
        let mut sorted: Vec<f64> = runs.iter().map(Run::nanos_per_record).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        let (median, spread) = (at(last / 2), format!("{:.1} - {:.1}", at(0), at(last)));
        let _ = write!(text, "\n{name:<28} {median:>10.1} {spread:>22} {:>14.0}", 1e9 / median);
    }
    text
}

/// Lets the contenders run one after the other, so many times.
pub(crate) fn in_turns(contenders: &[Contender], times: u32) -> Result<Vec<Runs>> {
    pin()?;
    let mut all = vec![Vec::new(); contenders.len()];
    for _ in 0..times {
        for (contender, runs) in contenders.iter().zip(&mut all) {
            runs.push(contender.run()?);
        }
    }
    Ok(contenders.iter().zip(all).map(|(one, runs)| Runs { name: one.name.clone(), runs }).collect())
}

impl Contender {
    pub(crate) fn new<A: Into<OsString>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { name: name.to_owned(), program: program.to_owned(), arguments }
    }

    /// One run.
    pub(crate) fn run(&self) -> Result<Run> {
        let step = Step { name: &self.name, way_out: "run the command by hand" };
        let end = step.finish(Command::new(&self.program).args(&self.arguments))?;
        ensure!(end.success, "{}: {}", self.name, end.text());
        serde_json::from_str(&end.stdout).context("reading a bench program's result")
    }
}

/// Runs a program that does not time itself, on the same core; the time that it had of the processor, from its
/// start to its end. What it prints goes nowhere.
pub(crate) fn whole(command: &mut Command) -> Result<Duration> {
    pin()?;
    let spent = || -> Result<Duration> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("asking what children have used")?;
        let time = usage.user_time() + usage.system_time();
        Ok(Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default()))
    };
    let before = spent()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A peer may end with an error where it found nothing; what it found is told apart from how long it took.
    command.status().with_context(|| format!("starting {}", command.get_program().display()))?;
    Ok(spent()?.saturating_sub(before))
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
    use super::{Run, Runs, table};

    #[test]
    fn runs_of_one_turn_are_held_against_each_other() {
        let runs = |nanos: [u64; 3]| Runs {
            name: "x".to_owned(),
            runs: nanos
                .map(|nanos| Run { records: 10, understood: 10, nanos, allocations: None, peak_kib: None })
                .to_vec(),
        };
        let (us, them) = (runs([900, 100, 200]), runs([1800, 400, 200]));
        assert_eq!(us.times(&them), [2.0, 4.0, 1.0]);
        assert_eq!(us.rates(), [1e9 / 90.0, 1e8, 5e7]);
        assert!(table(&[us]).contains("20.0            10.0 - 90.0"));
    }
}
