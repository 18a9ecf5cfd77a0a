//! The workloads that `cargo xtask guard` counts the instructions of: what is set up before them is not counted.

use std::hint::black_box;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};

use crate::{pipeline, replay, time};

/// Does some work. callgrind is told this function's name (`--toggle-collect`), and counts from its start to its end.
#[inline(never)]
pub(crate) fn under_callgrind(work: &mut dyn FnMut()) {
    work();
    // Something to do after the work, so that this is a call and not a jump.
    black_box(());
}

/// Does a workload and prints how many records that were, as JSON.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let records = match arguments {
        ["parse", log] => time::count(&crate::read(log)?),
        ["replay", log] => replay::count(log)?,
        ["pipeline", way, violations, recorded @ ..] => {
            let violations = crate::number(violations)?;
            pipeline::count(pipeline::Way::named(way)?, violations, &crate::texts(recorded)?)?;
            violations
        }
        _ => bail!("count wants: parse FILE | replay FILE | pipeline WAY VIOLATIONS RECORDED.."),
    };
    writeln!(std::io::stdout(), r#"{{"records":{records}}}"#).context("writing the result")
}
