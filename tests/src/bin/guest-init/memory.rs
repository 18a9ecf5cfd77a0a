//! What a process has in memory, as the kernel accounts for it.

use std::fs;

use anyhow::{Context, Result, ensure};

/// A process's memory in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// The most that was resident since exec: `VmHWM`, proc_pid_status(5).
    pub(crate) peak: u64,
    /// Resident now, by the page tables: proc_pid_smaps(5). (`VmRSS` lacks what a thread that lives has mapped at
    /// once, up to Linux 6.1.)
    pub(crate) resident: u64,
    /// Of it, heap, stacks, relocated data.
    pub(crate) anonymous: u64,
}

impl Memory {
    /// Of a process that runs.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let value = |file: &str, name: &str| {
            let path = format!("/proc/{pid}/{file}");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
            number.with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self {
            peak: value("status", "VmHWM")?,
            resident: value("smaps_rollup", "Rss")?,
            anonymous: value("smaps_rollup", "Anonymous")?,
        })
    }

    /// In words, for the reader.
    pub(crate) fn words(&self) -> String {
        let Self { peak, resident, anonymous } = self;
        format!("resident {resident} KiB, of which {anonymous} anonymous; {peak} KiB at most so far")
    }
}

/// Every mapping of a process that has pages in memory: KiB of it, and what it is.
pub(crate) fn mappings(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/smaps");
    let smaps = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let mut head = "";
    let mut found = Vec::new();
    for line in smaps.lines() {
        match line.strip_prefix("Rss:") {
            Some(rest) => {
                let kibibytes: u64 = rest.trim().trim_end_matches(" kB").parse().context("an Rss")?;
                found.extend((kibibytes > 0).then_some((kibibytes, head)));
            }
            None if line.split_whitespace().next().is_some_and(|word| word.contains('-')) => head = line,
            None => {}
        }
    }
    found.sort_by_key(|(kibibytes, _)| std::cmp::Reverse(*kibibytes));
    Ok(found.into_iter().map(|(kibibytes, head)| format!("{kibibytes:>7} {head}\n")).collect())
}

/// Fails when something is more than its limit.
pub(crate) fn at_most(limit: u64, got: u64) -> Result<()> {
    ensure!(got <= limit, "want at most {limit} KiB, got {got}");
    Ok(())
}
