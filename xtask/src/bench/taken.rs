//! What was measured last of each part, as JSON under target/bench/figures.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::figure::{Figure, Goal};
use super::ours::Commit;
use crate::place;
use crate::step::{self, Step};

/// The figures of one part.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Taken {
    /// `2026-11-24`.
    pub(crate) date: String,
    /// What it was built from.
    pub(crate) commit: Option<String>,
    pub(crate) figures: Vec<Figure>,
}

impl Taken {
    /// Figures that were taken just now.
    pub(crate) fn now(figures: Vec<Figure>) -> Result<Self> {
        let step = Step { name: "asking for the date", way_out: "install coreutils" };
        let date = step.run(Command::new("date").args(["--utc", "+%F"]))?.trim().to_owned();
        let commit = Commit::find(Some("HEAD"))?.map(|commit| commit.hash);
        Ok(Self { date, commit, figures })
    }

    /// Keeps them as those of `part`.
    pub(crate) fn keep(&self, part: &str) -> Result<()> {
        step::write(&path(part), serde_json::to_string_pretty(self)?)
    }

    /// What is kept of `part`, if it was ever measured here.
    pub(crate) fn of(part: &str) -> Result<Option<Self>> {
        let path = path(part);
        match fs::read(&path) {
            Ok(json) => {
                let what = || format!("{} is damaged; measure {part} again", path.display());
                serde_json::from_slice(&json).map(Some).with_context(what)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// A figure for each goal: the one that was taken, or that it was not.
    pub(crate) fn figures(taken: Option<&Self>, goals: &[Goal]) -> Vec<Figure> {
        let of = |goal: &Goal| taken?.figures.iter().find(|figure| figure.is_of(goal)).cloned();
        goals.iter().map(|goal| of(goal).unwrap_or_else(|| goal.not_measured("not in this run"))).collect()
    }
}

fn path(part: &str) -> PathBuf {
    place::bench().join("figures").join(format!("{part}.json"))
}
