//! bench/baseline.toml.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::circumstances::Circumstances;
use super::compare::Counts;
use crate::place;
use crate::step;

const FILE: &str = "bench/baseline.toml";
const HEAD: &str = "# Written by `cargo xtask guard --renew`, never by hand. Less is better.\n\n";

/// Everything that is guarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// Where the numbers come from.
    pub(crate) taken: Circumstances,
    /// What a record costs each workload, in instructions.
    pub(crate) instructions: Counts,
    /// How many instructions each function of the eBPF object has.
    pub(crate) programs: Counts,
    /// By series.
    pub(crate) kernels: BTreeMap<String, Kernel>,
}

/// What a kernel made of the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// How many instructions it went through to verify each program.
    pub(crate) verified: Counts,
}

impl Baseline {
    /// The stored one.
    pub(crate) fn read() -> Result<Self> {
        let path = path();
        let way_out = || format!("{}; `cargo xtask guard --renew` writes it anew", path.display());
        let text = fs::read_to_string(&path).with_context(way_out)?;
        Self::parse(&text).with_context(way_out)
    }

    /// Stores it; the answer is where.
    pub(crate) fn write(&self) -> Result<PathBuf> {
        let path = path();
        step::write(&path, self.render()?)?;
        Ok(path)
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    fn render(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }
}

fn path() -> PathBuf {
    place::workspace().join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_reads_back() {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let baseline = Baseline {
            taken: Circumstances { rustc: "rustc 1.95.0".to_owned(), avx2: true },
            instructions: counts(&[("parse", 1500)]),
            programs: counts(&[("audit_pre_fentry", 120)]),
            kernels: BTreeMap::from([(
                "6.1".to_owned(),
                Kernel { release: "6.1.0-9".to_owned(), verified: counts(&[("audit_pre_fentry", 300)]) },
            )]),
        };
        let text = baseline.render().unwrap();
        assert!(text.starts_with(HEAD), "{text}");
        assert_eq!(Baseline::parse(&text).unwrap(), baseline, "{text}");
    }

    #[test]
    fn the_stored_one_can_be_read_and_guards_something() {
        let stored = Baseline::read().unwrap();
        assert!(!stored.instructions.is_empty() && !stored.programs.is_empty());
        assert!(crate::lab::kernel::SERIES.iter().all(|series| stored.kernels.contains_key(*series)));
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        for text in ["", "[taken]\nrustc = 1\n", "unknown = 1\n"] {
            assert!(Baseline::parse(text).is_err(), "{text}");
        }
    }
}
