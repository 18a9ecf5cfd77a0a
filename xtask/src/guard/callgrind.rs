//! Instructions of user space, as callgrind counts them.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::compare::Counts;
use crate::bench::{log, ours};
use crate::place;
use crate::step::Step;

/// How many records each workload takes: enough for none to be rare, few enough for a few seconds.
const RECORDS: u32 = 20_000;
/// What is counted is what this function of the bench program calls.
const COUNTED: &str = "--toggle-collect=*under_callgrind*";

/// What a workload has done.
#[derive(Deserialize)]
struct Done {
    records: u64,
}

/// The instructions that a record costs each workload.
pub(crate) fn count() -> Result<Counts> {
    let program = ours::build()?;
    let log: OsString = log::make(&program, RECORDS)?.into();
    let recorded = log::corpus("wire", "txt")?;
    let of_log = |what: &str| vec![what.into(), log.clone()];
    let of_sources = |way: &str| {
        let fixed = ["pipeline", way, &RECORDS.to_string()].map(OsString::from);
        fixed.into_iter().chain(recorded.iter().map(OsString::from)).collect()
    };
    let workloads: [(&str, Vec<OsString>); 4] = [
        ("parse", of_log("parse")),
        ("replay", of_log("replay")),
        ("pipeline", of_sources("both")),
        // Also into the history, and to those who watch.
        ("outputs", of_sources("outputs")),
    ];
    let count =
        |(name, arguments): (&str, Vec<_>)| Ok((name.to_owned(), workload(&program, name, &arguments)?));
    workloads.into_iter().map(count).collect()
}

fn workload(program: &Path, name: &str, arguments: &[OsString]) -> Result<u64> {
    println!("  {name} under callgrind");
    let folder = place::workspace().join("target/guard");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let out = folder.join(format!("{name}.callgrind"));
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", COUNTED]).arg(option("--callgrind-out-file=", &out));
    command.arg(program).arg("count").args(arguments);
    let step = Step { name: &format!("{name} under callgrind"), way_out: "run the command by hand" };
    let done: Done = serde_json::from_str(&step.run(&mut command)?).context("reading what it has done")?;
    ensure!(done.records == u64::from(RECORDS), "{name} took {} of {RECORDS} records", done.records);
    let text = fs::read_to_string(&out).with_context(|| format!("reading {}", out.display()))?;
    let instructions = instructions(&text).with_context(|| format!("reading {}", out.display()))?;
    Ok(instructions / done.records)
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// The sum in a callgrind file ("Callgrind Format Specification", valgrind 3.19).
fn instructions(text: &str) -> Result<u64> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    match value("events:") {
        Some("Ir") => {}
        other => bail!("it counts {other:?}, not instructions alone"),
    }
    let total: u64 = value("totals:").context("it has no totals")?.parse().context("its totals")?;
    ensure!(total > 0, "nothing was counted: is the program stripped of its symbols?");
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::instructions;

    #[test]
    fn the_sum_is_read_or_refused() {
        for (name, text, want) in [
            (
                "a file",
                "# callgrind format\nevents: Ir\nsummary: 5764\n\nfn=(1) main\n58 5764\n\ntotals: 5764\n",
                Some(5764),
            ),
            ("other events", "events: Ir Dr\ntotals: 5764 12\n", None),
            ("no events", "totals: 5764\n", None),
            ("cut short", "events: Ir\nsummary: 5764\n", None),
            ("nothing collected", "events: Ir\ntotals: 0\n", None),
            ("no number", "events: Ir\ntotals: x\n", None),
        ] {
            assert_eq!(instructions(text).ok(), want, "{name}");
        }
    }
}
