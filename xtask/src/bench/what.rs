//! The parts, in the order in which `--all` measures them.

use anyhow::{Context, Result};
use clap::{CommandFactory as _, Parser};

use super::figure::{Figure, Goal};
use super::{guest, parse, peers, pipeline, replay, scrape, size, vm};

/// One part.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    Parse(parse::Arguments),
    Replay(replay::Arguments),
    Pipeline(pipeline::Arguments),
    Scrape(scrape::Arguments),
    Size(size::Arguments),
    Peers(peers::Arguments),
    Vm(vm::Arguments),
    Guest(guest::Arguments),
}

/// A part by its name, with all its arguments at their defaults.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct ByName {
    #[command(subcommand)]
    what: What,
}

impl What {
    /// Every part as it is without arguments.
    pub(crate) fn all() -> Vec<Self> {
        let command = ByName::command();
        let names = command.get_subcommands().map(clap::Command::get_name);
        // Every argument of every part has a default; a test says so.
        names.filter_map(|name| Self::named(name).ok()).collect()
    }

    fn named(name: &str) -> Result<Self> {
        let part = ByName::try_parse_from([name]).with_context(|| format!("{name} wants arguments"))?;
        Ok(part.what)
    }

    /// What its goals call it.
    pub(crate) fn name(&self) -> &'static str {
        self.goals().first().map_or("", |goal| goal.part)
    }

    /// What is promised of it.
    pub(crate) fn goals(&self) -> &'static [Goal] {
        match self {
            Self::Parse(_) => parse::GOALS,
            Self::Replay(_) => replay::GOALS,
            Self::Pipeline(_) => pipeline::GOALS,
            Self::Scrape(_) => scrape::GOALS,
            Self::Size(_) => size::GOALS,
            Self::Peers(_) => peers::GOALS,
            Self::Vm(_) => vm::GOALS,
            Self::Guest(_) => guest::GOALS,
        }
    }

    /// Measures it.
    pub(crate) fn measure(&self) -> Result<Vec<Figure>> {
        match self {
            Self::Parse(arguments) => parse::measure(arguments),
            Self::Replay(arguments) => replay::measure(arguments),
            Self::Pipeline(arguments) => pipeline::measure(arguments),
            Self::Scrape(arguments) => scrape::measure(arguments),
            Self::Size(arguments) => size::measure(arguments),
            Self::Peers(arguments) => peers::measure(arguments),
            Self::Vm(arguments) => vm::measure(arguments),
            Self::Guest(arguments) => guest::measure(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_part_can_be_measured_without_arguments_and_has_goals_of_its_own() {
        let command = ByName::command();
        let names: Vec<_> = command.get_subcommands().map(|part| part.get_name().to_owned()).collect();
        let all = What::all();
        assert_eq!(all.iter().map(|what| what.name().to_owned()).collect::<Vec<_>>(), names);
        let mut seen = BTreeSet::new();
        for goal in all.iter().flat_map(What::goals) {
            assert!(seen.insert((goal.part, goal.what)), "{}: {} is told twice", goal.part, goal.what);
        }
        for what in &all {
            assert!(what.goals().iter().all(|goal| goal.part == what.name()), "{}", what.name());
        }
    }
}
