//! docs/performance.md: what was measured, by whom that can be repeated, and what was not.
//!
//! The numbers differ from machine to machine and from run to run; what must hold is that each goal of the code has
//! its row, with its target.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::figure::{Figure, Goal, Verdict};
use super::taken::Taken;
use super::what::What;
use crate::place;
use crate::step;
use crate::vm::Tally;

const PAGE: &str = "docs/performance.md";

const HEAD: &str = "\
# Performance

Written by `cargo xtask bench --all` (`--page` writes it anew from what was measured last); do not edit. The table that
it prints is this one. A single part is `cargo xtask bench PART`; `cargo xtask bench peers --peer 'name=command'` holds
any other program against ours, on the same log.

**How.** Each figure is the middle one of several runs, with the least and the most of them in brackets. What is compared
runs in turns, on one core, and a ratio is taken within one turn, so that what else the machine does slows both. Times are
CPU times of a thread or a process, never a clock on the wall; in a guest they are instructions, each taken for a
nanosecond. Records are those that the lab's kernels wrote (tests/fixtures), again and again, with stamps, processes and
names of their own. Before a figure counts, its result is checked: each event is counted once, each record is read as
libapparmor reads it, or the difference has a name.

";

const MISSED: &str = "
## What is missed, and what it would take

* **A denied open costs more than 1.15 of one without an agent.** One that was traced instruction by instruction took
  5,100 more on 6.12: 2,150 are the eight spares and the three of the stamps, and of each 113 are what the kernel does
  around a program (`__bpf_prog_enter_recur`, `migrate_disable`, `migrate_enable`); 1,300 are reads of kernel memory
  (`copy_from_kernel_nofault`, `strncpy_from_kernel_nofault`); 730 are the program that puts the record together, 240
  adding it to the ring, 110 the stamp, and the rest the anchors and the trampolines. The wake-up of the agent is not
  among them while violations come close together. Spares are what keeps a quiet container's violations on a kernel that
  preempts tasks; one that does not could do without, 1.13 to 1.17 by these counts, but does not tell an agent with
  these privileges which it is. The rest would come from loads in place of reads, where the verifier knows the type.
  (What an open costs without an agent is itself 17,850 to 18,530, by how the kernel's memory lies.)
* **Silent denials cost a confined task more than 150 instructions where a kernel has no function for it that both gets
  the answer and is asked for nothing else**: capabilities on all kernels, files on 6.1. A file
  takes 152 on 6.12, of which the program's own are 4 before they are compiled; the rest is what the kernel does around
  it. They are off by default.
* **The first violation that eBPF has seen** comes when the kernel has verified the programs. The audit stream's comes at
  once.
";

const NOT_MEASURED: &str = "
## What is not measured here

* Other machines, other architectures, more than one core.
* A network: the API server's answers, a Prometheus that is far away.
* Printing events: standard output is as quick as who reads it.
* Disks: the history is written every ten seconds, by another thread.
";

/// Writes the page from what was measured last of each part.
pub(crate) fn write() -> Result<()> {
    let parts = What::all().iter().map(part).collect::<Result<Vec<_>>>()?;
    let page = page(&machine()?, &parts);
    let path = place::workspace().join(PAGE);
    step::write(&path, page)?;
    println!("written: {}", path.display());
    Ok(())
}

/// Whether the page has a row for each goal of the code, with its target, and no other.
pub(crate) fn check() -> Result<Tally> {
    let path = place::workspace().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let goals: Vec<_> = What::all().iter().flat_map(What::goals).copied().collect();
    holds(&page, &goals)?;
    Ok(Tally { passed: 1, failed: 0 })
}

/// A part and what is known of it.
struct Part {
    name: &'static str,
    taken: Option<Taken>,
    figures: Vec<Figure>,
}

fn part(what: &What) -> Result<Part> {
    let taken = Taken::of(what.name())?;
    let figures = Taken::figures(taken.as_ref(), what.goals());
    Ok(Part { name: what.name(), taken, figures })
}

fn page(machine: &str, parts: &[Part]) -> String {
    let mut text = format!("{HEAD}**Where.** {machine}.\n");
    for Part { name, taken, figures } in parts {
        let _ = write!(text, "\n## {name}\n\n");
        if let Some(Taken { date, commit, .. }) = taken {
            let commit = commit.as_deref().and_then(|hash| hash.get(..9)).unwrap_or("no commit");
            let _ = write!(text, "{date}, at {commit}.\n\n");
        }
        text.push_str("| what | target | measured | unit | verdict |\n|---|---|---|---|---|\n");
        for figure in figures {
            let _ = writeln!(text, "{}", row(figure));
        }
        let notes = figures.iter().filter_map(|figure| Some((figure, figure.note.as_ref()?)));
        for (at, (figure, note)) in notes.enumerate() {
            let start = if at == 0 { "\n" } else { "" };
            let verb = if figure.verdict == Verdict::NotMeasured { "not measured: " } else { "" };
            let _ = writeln!(text, "{start}* {}: {verb}{note}", figure.what);
        }
    }
    text + MISSED + NOT_MEASURED
}

fn row(figure: &Figure) -> String {
    let Figure { what, target, unit, verdict, .. } = figure;
    format!("| {what} | {target} | {} | {unit} | {verdict} |", figure.value())
}

fn holds(page: &str, goals: &[Goal]) -> Result<()> {
    let cells = |line: &str| -> Option<[String; 3]> {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        match cells.as_slice() {
            [what, target, _, unit, _] if *what != "what" => Some([*what, *target, *unit].map(str::to_owned)),
            _ => None,
        }
    };
    let rows: Vec<_> = page.lines().filter_map(cells).collect();
    let want: Vec<_> = goals
        .iter()
        .map(|goal| [goal.what.to_owned(), goal.target.to_string(), goal.unit.to_owned()])
        .collect();
    let way_out = format!("`cargo xtask bench --page` writes {PAGE} anew");
    for row in &want {
        ensure!(rows.contains(row), "{PAGE} lacks the row of {row:?}; way out: {way_out}");
    }
    for row in &rows {
        ensure!(want.contains(row), "{PAGE} has a row that nothing measures: {row:?}; way out: {way_out}");
    }
    Ok(())
}

/// What class of machine it is.
fn machine() -> Result<String> {
    let processors = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let models: Vec<_> = processors.lines().filter_map(|line| line.strip_prefix("model name\t: ")).collect();
    let virtual_one =
        processors.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel")?;
    Ok(format!(
        "{} cores of {}{}, Linux {}; nothing keeps other work off them",
        models.len(),
        models.first().unwrap_or(&"an unknown model"),
        if virtual_one { ", in a virtual machine" } else { "" },
        kernel.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Target;

    const GOALS: [Goal; 2] = [
        Goal { part: "parse", what: "records a second", unit: "1/s", target: Target::Told },
        Goal { part: "parse", what: "allocations", unit: "", target: Target::AtMost(0.0) },
    ];

    #[test]
    fn a_page_has_what_was_measured_and_what_was_not() {
        let figures =
            vec![GOALS[0].median(vec![1e6, 2e6, 3e6]).noting("of a note"), GOALS[1].not_measured("no time")];
        let taken =
            Taken { date: "2026-11-24".to_owned(), commit: Some("0123456789".to_owned()), figures: vec![] };
        let text = page("a machine", &[Part { name: "parse", taken: Some(taken), figures }]);
        for line in [
            "**Where.** a machine.",
            "2026-11-24, at 012345678.",
            "| records a second | - | 2,000,000 (1,000,000 - 3,000,000) | 1/s | - |",
            "| allocations | at most 0 | - |  | not measured |",
            "* records a second: of a note",
            "* allocations: not measured: no time",
        ] {
            assert!(text.lines().any(|its| its == line), "{line}\n{text}");
        }
        holds(&text, &GOALS).unwrap();
    }

    #[test]
    fn numbers_may_differ_and_goals_may_not() {
        let text = page("", &[Part { name: "parse", taken: None, figures: Taken::figures(None, &GOALS) }]);
        holds(&text, &GOALS).unwrap();
        let other = [GOALS[0], Goal { target: Target::AtMost(1.0), ..GOALS[1] }];
        let missing = holds(&text, &other).unwrap_err().to_string();
        assert!(missing.contains("lacks the row") && missing.contains("at most 1"), "{missing}");
        let more = holds(&text, &GOALS[..1]).unwrap_err().to_string();
        assert!(more.contains("nothing measures") && more.contains("allocations"), "{more}");
    }
}
