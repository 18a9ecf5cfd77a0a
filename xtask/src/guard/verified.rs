//! What verifying the programs takes a kernel, as it tells the agent in the lab.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::baseline::Kernel;
use super::compare::Counts;
use crate::lab::rig::Rig;
use crate::lab::suite::PROGRAMS;
use crate::vm;

/// What the guest leaves behind.
const FILE: &str = "verified.txt";

/// On a kernel of this series.
pub(crate) fn on(series: &str) -> Result<Kernel> {
    let rig = Rig::ready(series)?;
    let path = vm::files(&rig, &PROGRAMS)?.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Kernel { release: rig.release(), verified: counts(&text)? })
}

/// Reads lines `program instructions`.
fn counts(text: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in text.lines() {
        let (program, number) = line.split_once(' ').with_context(|| format!("not a program: {line}"))?;
        let number = number.parse().with_context(|| format!("not a number: {line}"))?;
        let twice = counts.insert(program.to_owned(), number);
        ensure!(twice.is_none(), "{program} is told twice");
    }
    ensure!(!counts.is_empty(), "no program is told");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn programs_are_read_or_refused() {
        let two = vec![("a".to_owned(), 10), ("b".to_owned(), 20)];
        for (name, text, want) in [
            ("two", "a 10\nb 20\n", Some(two)),
            ("one twice", "a 10\na 10\n", None),
            ("no number", "a ten\n", None),
            ("no program", "10\n", None),
            ("nothing", "", None),
        ] {
            assert_eq!(counts(text).ok().map(|counts| counts.into_iter().collect()), want, "{name}");
        }
    }
}
