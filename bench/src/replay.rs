//! `aa-monitor replay --output prom`, as a whole: the file is read, cut into lines, understood and counted.

use std::fs;
use std::io::{Write as _, sink};
use std::path::Path;

use aa_monitor::output::{Report, ReportFormat};
use aa_monitor::replay::{Filter, Replay};
use anyhow::{Context as _, Result};

use crate::allocations;
use crate::counted::under_callgrind;
use crate::time::now;

/// What `aa-monitor replay` has by default.
const SERIES_LIMIT: usize = 5000;

/// Reads a log once and prints how long that took, how often memory was asked for and how much of it there was
/// at most, as JSON.
pub(crate) fn all(path: &str) -> Result<()> {
    let mut replay = replay()?;
    let (start, asked) = (now()?, allocations::asked());
    replay.read(&[Path::new(path).to_owned()])?;
    let (lines, _) = replay.finish()?;
    let (asked, nanos) = (allocations::asked() - asked, (now()? - start).as_nanos());
    let (records, understood, peak) = (lines.total(), lines.violations, peak_kib()?);
    writeln!(
        std::io::stdout(),
        r#"{{"records":{records},"understood":{understood},"nanos":{nanos},"allocations":{asked},"peak_kib":{peak}}}"#
    )
    .context("writing the result")
}

/// Reads a log once, for callgrind; how many records there are.
pub(crate) fn count(path: &str) -> Result<u64> {
    let (mut replay, path) = (Some(replay()?), [Path::new(path).to_owned()]);
    let mut end = Ok(0);
    under_callgrind(&mut || {
        if let Some(mut replay) = replay.take() {
            end = replay.read(&path).and_then(|()| replay.finish()).map(|(lines, _)| lines.total());
        }
    });
    end
}

fn replay() -> Result<Replay> {
    let report = Report::new(ReportFormat::Prom, Box::new(sink()), None, false, SERIES_LIMIT)?;
    Ok(Replay::new(Filter::default(), false, report))
}

/// The most memory that this process ever had resident (proc_pid_status(5)).
fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.context("/proc/self/status has no VmHWM")
}
