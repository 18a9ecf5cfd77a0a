//! Whether the programs wake the reader for what they add, or the reader looks by itself.
//!
//! A wake-up comes from inside of a program. On a kernel that preempts tasks, a task that storms loses the CPU to the
//! reader right there, and until it has it again the program is skipped on that CPU for everybody. So a reader that
//! finds violations close together tells the programs that it looks every few milliseconds, as a network card is told
//! (NAPI), and they wake nobody. When they come seldom again, it takes that back: one that nobody expects is read at
//! once.

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::Ebpf as Object;
use aya::maps::{Array, MapData};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::sys;

/// How long the reader waits between two looks: what a violation in a storm waits at the most.
const INTERVAL: Duration = Duration::from_millis(5);

/// What the programs are told of the reader.
pub(super) struct Wakeups {
    looking: Array<MapData, u32>,
    state: State,
    pace: Pace,
}

enum State {
    /// They wake it.
    On,
    /// They do not: it looks by itself.
    Off,
    /// They do again, but for runs that began before they were told. It looks by itself until those have ended.
    Returning(JoinHandle<io::Result<()>>),
}

impl Wakeups {
    /// As the programs were loaded: they wake the reader.
    pub(super) fn of(object: &mut Object) -> anyhow::Result<Self> {
        let map = object.take_map("LOOKING").context("the object has no map LOOKING")?;
        Ok(Self { looking: Array::try_from(map)?, state: State::On, pace: Pace::new(Instant::now()) })
    }

    /// Whether the reader may wait to be woken.
    pub(super) fn are_on(&self) -> bool {
        matches!(self.state, State::On)
    }

    /// Notes a look that found nothing more, after so many records since the start.
    pub(super) fn looked(&mut self, taken: u64, now: Instant) -> io::Result<()> {
        match self.pace.looked(taken, now) {
            Some(true) => {
                self.tell(1)?;
                self.state = State::Off;
            }
            Some(false) => {
                self.tell(0)?;
                self.state = State::Returning(tokio::task::spawn_blocking(sys::wait_for_programs));
            }
            None => {}
        }
        Ok(())
    }

    /// Is ready when the reader has to look without being woken. What is cancelled is not forgotten.
    pub(super) async fn time_to_look(&mut self) {
        match &mut self.state {
            State::On => pending().await,
            State::Off => sleep(INTERVAL).await,
            State::Returning(programs) => tokio::select! {
                ended = programs => self.state = self.returned(ended),
                () = sleep(INTERVAL) => {}
            },
        }
    }

    /// Nobody knows of a run that wakes nobody when the kernel cannot tell that all have ended: then the reader goes
    /// on looking by itself.
    fn returned(&self, ended: Result<io::Result<()>, tokio::task::JoinError>) -> State {
        match ended.map_err(io::Error::other).flatten() {
            Ok(()) => State::On,
            Err(error) => {
                tracing::warn!(%error, "cannot tell when programs have ended; the ring is looked at every 5 ms");
                State::Off
            }
        }
    }

    fn tell(&mut self, looking: u32) -> io::Result<()> {
        self.looking.set(0, looking, 0).map_err(io::Error::other)
    }
}

/// Whether records come close together.
#[derive(Debug)]
struct Pace {
    close: bool,
    since: Instant,
    /// How many had been taken then, and at the latest look.
    before: u64,
    latest: u64,
}

impl Pace {
    /// So many in [`Self::SHORT`] are close together; no longer so when less come in [`Self::LONG`].
    const MANY: u64 = 4;
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_millis(100);

    fn new(now: Instant) -> Self {
        Self { close: false, since: now, before: 0, latest: 0 }
    }

    /// Notes a look, after so many records since the start; whether they come close together, when that changes.
    fn looked(&mut self, taken: u64, now: Instant) -> Option<bool> {
        let span = now.saturating_duration_since(self.since);
        if !self.close && span > Self::SHORT {
            self.begin(self.latest, now);
        }
        self.latest = taken;
        let many = taken - self.before >= Self::MANY;
        // That they do is known at once, that they do not after a while.
        let known = if self.close { span >= Self::LONG } else { many };
        if !known {
            return None;
        }
        self.begin(taken, now);
        let changes = many != self.close;
        self.close = many;
        changes.then_some(many)
    }

    fn begin(&mut self, taken: u64, now: Instant) {
        self.since = now;
        self.before = taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_close_together_are_enough_and_a_pause_ends_it() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        // After so many milliseconds, so many records; what changes.
        for (at, taken, changes) in [
            (0, 1, None),
            (30, 2, None),
            (60, 3, None),
            (65, 4, None),
            (70, 5, None),
            (79, 6, Some(true)),
            (84, 6, None),
            (178, 7, None),
            (180, 10, None),
            (279, 10, None),
            (281, 13, Some(false)),
            (500, 13, None),
            (900, 16, None),
            (1400, 20, Some(true)),
            (1500, 20, Some(false)),
            (1501, 23, None),
            (1519, 24, Some(true)),
        ] {
            assert_eq!(pace.looked(taken, start + Duration::from_millis(at)), changes, "after {at} ms");
        }
    }
}
