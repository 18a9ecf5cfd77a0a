//! What has been read of the kernel's tallies, and when old ones can go. Pure: told what there is and what time
//! it is.
//!
//! A tally that is removed while a program adds to it would lose that one. So they are removed by epochs: the
//! programs are told of a new one, and begin their tallies anew; when each of them that had not heard of it has
//! ended, the old ones stand still, are read a last time, and go.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aa_monitor_ebpf::TallyKey;

use super::ROOM;

/// A new epoch begins when so many tallies are there.
const CROWDED: usize = ROOM as usize / 2;
/// And now and then, so that what is over does not stay for ever.
const LONGEST: Duration = Duration::from_secs(600);
/// But no more often than this: where so many kinds are always new, waiting for the kernel would be all that is
/// done.
const SHORTEST: Duration = Duration::from_secs(2);

/// What is to be done after a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// To tell the programs of this epoch, and to say with [`Books::begun`] when all runs that had not heard of
    /// it are over.
    Begin(u8),
    /// To remove the tallies of this epoch.
    Forget(u8),
}

/// The counts of the last reading.
#[derive(Debug)]
pub(super) struct Books {
    read: HashMap<TallyKey, u64>,
    epoch: u8,
    /// Since when it is.
    since: Instant,
    /// The one before still has tallies, to which nothing is added any more.
    closed: bool,
}

impl Books {
    pub(super) fn new(now: Instant) -> Self {
        Self { read: HashMap::new(), epoch: 0, since: now, closed: false }
    }

    /// How many more a tally has than when it was read last.
    pub(super) fn grown(&mut self, key: &TallyKey, count: u64) -> u64 {
        let before = self.read.insert(*key, count).unwrap_or(0);
        count.saturating_sub(before)
    }

    /// It is gone from the kernel: one that begins there again begins at 0.
    pub(super) fn forget(&mut self, key: &TallyKey) {
        self.read.remove(key);
    }

    /// What is to be done now that a reading has found so many tallies.
    pub(super) fn step(&mut self, tallies: usize, now: Instant) -> Step {
        // What was read just now was read after the wait.
        if std::mem::take(&mut self.closed) {
            return Step::Forget(self.other());
        }
        let age = now.saturating_duration_since(self.since);
        let due = if tallies >= CROWDED { SHORTEST } else { LONGEST };
        if tallies == 0 || age < due {
            return Step::Stay;
        }
        self.since = now;
        self.epoch = self.other();
        Step::Begin(self.epoch)
    }

    /// The programs know of the new epoch; `alone` when no run is left that does not. Otherwise the old tallies
    /// stay, and are of the epoch after this one.
    pub(super) fn begun(&mut self, alone: bool) {
        self.closed = alone;
    }

    /// Two will do: when one begins, nothing is left of it.
    fn other(&self) -> u8 {
        1 - self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(epoch: u8) -> TallyKey {
        TallyKey { epoch, ..bytemuck::Zeroable::zeroed() }
    }

    #[test]
    fn what_grew_is_told_once() {
        let mut books = Books::new(Instant::now());
        for (count, want) in [(3, 3), (3, 0), (5, 2)] {
            assert_eq!(books.grown(&key(0), count), want, "at {count}");
        }
        assert_eq!(books.grown(&key(1), 4), 4, "another epoch's is another one");
        books.forget(&key(0));
        assert_eq!(books.grown(&key(0), 2), 2, "begun anew");
    }

    #[test]
    fn epochs_follow_each_other_when_there_is_much_or_it_has_been_long() {
        let start = Instant::now();
        let mut books = Books::new(start);
        for (seconds, tallies, waited, want, why) in [
            (0, CROWDED, true, Step::Stay, "too soon"),
            (3, CROWDED - 1, true, Step::Stay, "room enough"),
            (4, CROWDED, true, Step::Begin(1), "crowded"),
            (5, CROWDED, true, Step::Forget(0), "read after the wait"),
            (6, 9, true, Step::Stay, "gone"),
            (603, 9, true, Step::Stay, "not long enough"),
            (605, 9, false, Step::Begin(0), "long enough"),
            (606, CROWDED, true, Step::Stay, "nobody waited, so nothing is removed"),
            (608, CROWDED, true, Step::Begin(1), "tried again"),
            (609, CROWDED, true, Step::Forget(0), "and done"),
            (6000, 0, true, Step::Stay, "nothing to remove"),
        ] {
            let step = books.step(tallies, start + Duration::from_secs(seconds));
            assert_eq!(step, want, "{why}");
            if let Step::Begin(_) = step {
                books.begun(waited);
            }
        }
    }
}
