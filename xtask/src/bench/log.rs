//! The log that everything is measured on: the recorded records, again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::place;
use crate::step::Step;

/// How many records it has, unless asked otherwise.
pub(crate) const RECORDS: u32 = 1_000_000;

/// A log of so many records; made anew when the program that makes it or the corpus has changed.
pub(crate) fn make(program: &Path, records: u32) -> Result<PathBuf> {
    let corpus = corpus("records", "log")?;
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

/// A few of its records.
pub(crate) fn sample() -> PathBuf {
    place::bench().join("sample.log")
}

/// The files of a folder of recorded records.
pub(crate) fn corpus(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let folder = place::workspace().join("tests/fixtures").join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|its| its == extension))
        .collect();
    files.sort();
    Ok(files)
}
