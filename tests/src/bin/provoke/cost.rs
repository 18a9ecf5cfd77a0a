//! What one operation costs the program that asks for it.

use nix::time::ClockNanosleepFlags as Flags;
use nix::time::{ClockId, clock_gettime, clock_nanosleep};

/// Between two attempts: long enough for the kernel's audit thread to write down the one before, so that
/// none meets a full backlog, which would be cheaper than what is measured.
const PAUSE_NANOS: i64 = 2_000_000;

/// Nanoseconds of the thread's own time for each attempt, in order of size.
///
/// Under QEMU's `-icount shift=0` a nanosecond is an instruction. The thread's clock leaves out what other
/// tasks do meanwhile, and keeps what the kernel does in interrupts on this task's account.
#[derive(Debug)]
pub(crate) struct Costs(Vec<i64>);

impl Costs {
    /// Performs `operation` so many times. The cost of looking at the clock is taken off.
    pub(crate) fn of(times: u32, mut operation: impl FnMut()) -> nix::Result<Self> {
        let clock = Self::measure(times, &mut || {})?.at(1, 2);
        let Self(mut costs) = Self::measure(times, &mut operation)?;
        for cost in &mut costs {
            *cost -= clock;
        }
        Ok(Self(costs))
    }

    fn measure(times: u32, operation: &mut dyn FnMut()) -> nix::Result<Self> {
        let mut costs = Vec::with_capacity(times as usize);
        let pause = nix::sys::time::TimeSpec::new(0, PAUSE_NANOS);
        for _ in 0..times {
            clock_nanosleep(ClockId::CLOCK_MONOTONIC, Flags::empty(), &pause)?;
            let start = now()?;
            operation();
            costs.push(now()? - start);
        }
        costs.sort_unstable();
        Ok(Self(costs))
    }

    /// The cost that `numerator` of `denominator` attempts do not exceed.
    pub(crate) fn at(&self, numerator: usize, denominator: usize) -> i64 {
        let Self(costs) = self;
        costs.get(costs.len().saturating_sub(1) * numerator / denominator).copied().unwrap_or(0)
    }
}

fn now() -> nix::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
