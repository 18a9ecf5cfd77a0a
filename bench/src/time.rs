//! The clock.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use aa_monitor::record::{Origin, Senders, parse_line};
use anyhow::{Context as _, Result};
use bumpalo::Bump;
use nix::time::ClockId;

use crate::allocations;
use crate::counted::under_callgrind;

/// Lines that are read before the clock starts: the arena and the branch predictors have then seen the mix.
const WARM_UP: usize = 10_000;

/// Reads every line of a log once and prints how long that took, as JSON.
///
/// The clock is the thread's own: what else the machine does is not counted. The lines are in memory and
/// split beforehand, and every result is dropped before the next, as the agent does it.
pub(crate) fn all(log: &[u8]) -> Result<()> {
    let lines: Vec<&[u8]> = crate::lines(log).collect();
    let mut reader = Reader::default();
    reader.read(lines.get(..WARM_UP).unwrap_or(&lines));
    let (start, asked) = (now()?, allocations::asked());
    let understood = reader.read(&lines);
    let (asked, nanos) = (allocations::asked() - asked, (now()? - start).as_nanos());
    let records = lines.len();
    writeln!(
        std::io::stdout(),
        r#"{{"records":{records},"understood":{understood},"nanos":{nanos},"allocations":{asked}}}"#
    )
    .context("writing the result")
}

/// Reads every line of a log once, for callgrind; how many there are.
pub(crate) fn count(log: &[u8]) -> u64 {
    let lines: Vec<&[u8]> = crate::lines(log).collect();
    let mut reader = Reader::default();
    under_callgrind(&mut || {
        reader.read(&lines);
    });
    lines.len() as u64
}

/// What reading takes.
struct Reader {
    senders: Senders,
    arena: Bump,
}

impl Default for Reader {
    fn default() -> Self {
        Self { senders: Senders::by_program(), arena: Bump::with_capacity(64 << 10) }
    }
}

impl Reader {
    /// How many of these lines are understood.
    fn read(&mut self, lines: &[&[u8]]) -> u64 {
        let Self { senders, arena } = self;
        let mut understood = 0_u64;
        for line in lines {
            arena.reset();
            let violation = parse_line(line, Origin::File, senders, arena);
            understood += u64::from(black_box(violation).is_ok());
        }
        understood
    }
}

/// What this thread has had of a processor.
pub(crate) fn now() -> Result<Duration> {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now().context("reading the thread's clock")?;
    Ok(now.into())
}
