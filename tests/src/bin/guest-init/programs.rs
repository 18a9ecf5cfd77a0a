//! Scenario `programs`: how many instructions this kernel goes through to verify each program, as the agent tells it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, keep};
use crate::console::Report;

/// What the agent says of each program.
const VERIFIED: &str = "verified by the kernel program=\"";

/// Plays the scenario: `verified.txt` has a line for each program that is loaded here, `program instructions`.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    // Told, not logged by the programs themselves: that would be other programs.
    let all = ["--silent-denials", "on", "--log-level", "debug"];
    let mut agent = Agent::start_as("/bin/aa-monitor", "auto", &all)?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    let lines = Agent::said(VERIFIED)?;
    report.check("the agent tells what verifying its programs took", told(&lines));
    agent.terminate(Duration::from_secs(10))?;
    Agent::say_log();
    Ok(())
}

fn told(lines: &[String]) -> Result<()> {
    ensure!(!lines.is_empty(), "there is no line with {VERIFIED}");
    for line in lines {
        let told = line.split_once(VERIFIED).and_then(|(_, rest)| rest.split_once("\" instructions="));
        let (program, number) = told.with_context(|| format!("not of a program: {line}"))?;
        let number: u64 = number.trim().parse().with_context(|| format!("no number: {line}"))?;
        keep("verified.txt", &format!("{program} {number}"));
    }
    Ok(())
}
