//! What the kernel's audit mode makes of denials: with a quiet one all are silent, with a loud one none.

use std::fs;
use std::thread;
use std::time::Duration;

use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result};

use super::{ENFORCE, EVENTS, REPORTED, SILENT, counted, equal, run};
use crate::agent::{self, Agent};
use crate::console::Report;
use crate::victim::Victim;

const MODE: &str = "/sys/module/apparmor/parameters/audit";
/// By when the agent has seen that the mode is another one.
const SEEN: Duration = Duration::from_secs(3);

/// Checks both.
pub(super) fn check(report: &mut Report, agent: &mut Agent, victim: &Victim) -> Result<()> {
    let (_, samples) = agent::metrics()?;
    let (events, silent) = (sum(&samples, EVENTS, &[]), sum(&samples, SILENT, &[]));

    set("noquiet")?;
    run(ENFORCE, &["write", "/lab/secret"], 3, victim)?;
    run(ENFORCE, &["inet"], 2, victim)?;
    let (_, samples) = counted(agent, events + 5, silent)?;
    report.check("what a loud kernel reports is counted once", equal(events + 5, sum(&samples, EVENTS, &[])));
    report.check("and is not silent", equal(silent, sum(&samples, SILENT, &[])));

    set("quiet")?;
    let mut hidden = 0;
    for (operation, times) in REPORTED.iter().filter(|(operation, _)| operation.first() == Some(&"open")) {
        run(ENFORCE, operation, *times, victim)?;
        hidden += u64::from(*times);
    }
    let (_, samples) = counted(agent, events + 5, silent + hidden)?;
    let by_mode = sum(&samples, SILENT, &[("reason", "audit_mode"), ("class", "file")]);
    report.check("what a quiet kernel hides is silent", equal(hidden, by_mode));
    report.check("and nothing else is", equal(silent + hidden, sum(&samples, SILENT, &[])));
    set("normal")
}

fn set(mode: &str) -> Result<()> {
    fs::write(MODE, mode).with_context(|| format!("writing {mode} to {MODE}"))?;
    thread::sleep(SEEN);
    Ok(())
}
