//! docs/kernels.md: what works on which kernel, written by `cargo xtask vm --all-kernels` from what it plays.
//!
//! The page is its own memory: a run of some suites replaces their cells and leaves the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use aa_monitor_tests::scrape::{Sample, parse, sum};
use anyhow::{Context, Result};

use super::kernel::{Kernel, SERIES};
use super::rig;
use super::suite::{SUITES, Suite};
use crate::place;
use crate::step;
use crate::vm::Tally;

/// The suites that are played on every kernel, those of them that exist.
const PLAYED: [&str; 11] = [
    "smoke",
    "containers",
    "identity",
    "storm",
    "restart",
    "recover",
    "silent",
    "faults",
    "kubernetes",
    "authors",
    "image",
];

const NOT_PLAYED: &str = "not played";

const HEAD: &str = "\
# Kernels

What works on which kernel, as the lab has found it: written by `cargo xtask vm --all-kernels`, never by hand. The
kernels are Debian's of these series; an attach that works is the only proof, so other kernels can differ.
";

const SUITES_TABLE: &str = "Suites";
const HOOKS_TABLE: &str = "Hooks";
const SOURCES_TABLE: &str = "Sources";

/// One table: a row for each thing, a column for each kernel.
const TABLES: [(&str, &str); 3] = [
    (SUITES_TABLE, "Checks that held; what each suite shows, `cargo xtask vm --list` says."),
    (
        HOOKS_TABLE,
        "How each kernel function is hooked where both sources work. A kprobe needs `CAP_SYS_ADMIN` on Debian.",
    ),
    (SOURCES_TABLE, "Which sources deliver, by the boots of the suite `smoke`."),
];
const RELEASE: &str = "release";

/// The suites that a page is about.
pub(crate) fn suites() -> Vec<Suite> {
    SUITES.iter().copied().filter(|suite| PLAYED.contains(&suite.name)).collect()
}

/// What the page says: by table, row and kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Matrix(BTreeMap<(String, String, String), String>);

impl Matrix {
    /// The page as it is; empty when there is none.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string(path()).unwrap_or_default())
    }

    /// Takes in what a suite came to on a kernel, and what its boots left behind.
    pub(crate) fn note(&mut self, kernel: &str, suite: Suite, tally: Tally) -> Result<()> {
        let Tally { passed, failed } = tally;
        let cell = if failed == 0 { passed.to_string() } else { format!("{passed}, **{failed} failed**") };
        self.set(SUITES_TABLE, suite.name, kernel, cell);
        self.set(SUITES_TABLE, RELEASE, kernel, Kernel::get(kernel)?.release());
        if suite.name == "smoke" {
            self.note_scrapes(kernel, suite)?;
        }
        Ok(())
    }

    fn note_scrapes(&mut self, kernel: &str, smoke: Suite) -> Result<()> {
        self.0.retain(|(table, _, column), _| {
            column != kernel || ![HOOKS_TABLE, SOURCES_TABLE].contains(&table.as_str())
        });
        for boot in smoke.boots.iter().filter(|boot| boot.scenario == "smoke") {
            let path = rig::logs(kernel, boot).join("metrics.prom");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let samples = parse(&text)?;
            let what = match (boot.kernel, boot.source) {
                ("", "auto") => "as it boots".to_owned(),
                ("", source) => format!("`--source {source}`"),
                (parameters, _) => format!("`{parameters}`"),
            };
            self.set(SOURCES_TABLE, &what, kernel, up(&samples));
            if (boot.kernel, boot.source) == ("", "auto") {
                for hook in samples.iter().filter(|sample| sample.name == "aa_monitor_hook_attached") {
                    let function = format!("`{}`", hook.label("function"));
                    self.set(HOOKS_TABLE, &function, kernel, hook.label("how").to_owned());
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, table: &str, row: &str, kernel: &str, cell: String) {
        self.0.insert((table.to_owned(), row.to_owned(), kernel.to_owned()), cell);
    }

    /// Writes the page.
    pub(crate) fn write(&self) -> Result<()> {
        step::write(&path(), self.render())
    }

    fn render(&self) -> String {
        let mut page = HEAD.to_owned();
        for (table, about) in TABLES {
            let _ = write!(page, "\n## {table}\n\n{about}\n\n|  | {} |\n", SERIES.join(" | "));
            let _ = writeln!(page, "|---|{}", "---|".repeat(SERIES.len()));
            for row in self.rows(table) {
                let cells = SERIES.map(|kernel| {
                    let key = (table.to_owned(), row.clone(), kernel.to_owned());
                    self.0.get(&key).map_or(NOT_PLAYED, String::as_str)
                });
                let _ = writeln!(page, "| {row} | {} |", cells.join(" | "));
            }
        }
        page
    }

    /// Every suite has a row, played or not.
    fn rows(&self, table: &str) -> Vec<String> {
        if table == SUITES_TABLE {
            let suites = suites();
            return [RELEASE]
                .into_iter()
                .chain(suites.iter().map(|suite| suite.name))
                .map(str::to_owned)
                .collect();
        }
        let mut rows: Vec<String> =
            self.0.keys().filter(|(of, ..)| of == table).map(|(_, row, _)| row.clone()).collect();
        rows.dedup();
        rows
    }

    fn parse(page: &str) -> Self {
        let mut matrix = Self::default();
        let (mut table, mut kernels) = (String::new(), Vec::new());
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut table);
                kernels.clear();
            }
            let Some(inner) = line.strip_prefix("| ").and_then(|rest| rest.strip_suffix(" |")) else {
                continue;
            };
            let cells: Vec<&str> = inner.split(" | ").map(str::trim).collect();
            let [first, rest @ ..] = cells.as_slice() else { continue };
            if kernels.is_empty() {
                kernels = rest.iter().map(|kernel| (*kernel).to_owned()).collect();
                continue;
            }
            for (kernel, cell) in kernels.iter().zip(rest).filter(|(_, cell)| **cell != NOT_PLAYED) {
                matrix.set(&table, first, kernel, (*cell).to_owned());
            }
        }
        matrix
    }
}

fn path() -> PathBuf {
    place::workspace().join("docs/kernels.md")
}

fn up(samples: &[Sample]) -> String {
    let up = ["ebpf", "audit"]
        .into_iter()
        .filter(|source| sum(samples, "aa_monitor_source_up", &[("source", source)]) > 0);
    up.collect::<Vec<_>>().join(", ")
}

/// Fails when the page lacks a kernel or a suite that there is, has one that there is not, or was written by hand.
pub(crate) fn check() -> Result<Tally> {
    let page = fs::read_to_string(path()).context("reading docs/kernels.md")?;
    anyhow::ensure!(
        Matrix::parse(&page).render() == page,
        "docs/kernels.md is not what `cargo xtask vm --all-kernels` would write of its own numbers: a suite or a \
         kernel has come or gone; way out: run that"
    );
    Ok(Tally { passed: 1, failed: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_reads_back_and_keeps_what_is_not_played_anew() {
        let mut matrix = Matrix::default();
        matrix.set(SUITES_TABLE, "smoke", "6.1", "47".to_owned());
        matrix.set(SUITES_TABLE, "storm", "7.3", "8, **1 failed**".to_owned());
        matrix.set(HOOKS_TABLE, "`audit_pre`", "6.1", "fentry".to_owned());
        let page = matrix.render();
        assert!(page.contains("| smoke | 47 | not played |"), "{page}");
        assert_eq!(Matrix::parse(&page), matrix);
        assert_eq!(Matrix::parse(&page).render(), page);
    }

    #[test]
    fn a_page_without_a_suite_or_with_another_kernel_is_stale() {
        let page = Matrix::default().render();
        for (name, stale) in [
            (
                "a suite is missing",
                page.replace("| smoke | not played | not played | not played | not played |\n", ""),
            ),
            ("a kernel is missing", page.replace(" | 7.3 |", " |")),
            ("a suite that is none", page.replace("| smoke |", "| smok |")),
        ] {
            assert_ne!(stale, page, "{name}: the page has changed its form");
            assert_ne!(Matrix::parse(&stale).render(), stale, "{name}");
        }
    }

    #[test]
    fn the_page_is_not_stale() {
        check().unwrap();
    }
}
