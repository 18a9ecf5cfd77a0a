//! `cargo xtask bench size`: what a node has to fetch and keep.

use std::fs;
use std::path::Path;

use aa_monitor_tests::contract::IMAGE_LIMIT;
use anyhow::{Context, Result};

use super::figure::{Figure, Goal, Target};
use crate::dist;

/// Builds the static binary and the image as they are shipped, and weighs them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

const fn size(what: &'static str, mib: f64) -> Goal {
    Goal { part: "size", what, unit: "MiB", target: Target::AtMost(mib) }
}

const BINARY: Goal = size("the static binary, eBPF programs included", 12.0);
const IMAGE: Goal = size("the image's archive", IMAGE_LIMIT as f64);

/// What is promised of the sizes.
pub(crate) const GOALS: &[Goal] = &[BINARY, IMAGE];

/// Weighs both.
pub(crate) fn measure(_: &Arguments) -> Result<Vec<Figure>> {
    let shipped = dist::amd64()?;
    let weigh = |goal: Goal, path: &Path| -> Result<Figure> {
        let bytes = fs::metadata(path).with_context(|| format!("weighing {}", path.display()))?.len();
        Ok(goal.measured(bytes as f64 / f64::from(1 << 20)).noting("x86-64"))
    };
    Ok(vec![weigh(BINARY, &shipped.binary)?, weigh(IMAGE, &shipped.image)?])
}
