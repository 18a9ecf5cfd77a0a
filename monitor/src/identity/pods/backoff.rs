//! How long to wait before asking again. Pure, but for the dice.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Doubles from failure to failure, with jitter, so that a thousand agents do not return at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_secs(60);
    /// What a server may ask for at most: an hour's `Retry-After` would be a mistake, or a trap.
    const MOST_ASKED: Duration = Duration::from_secs(600);

    pub(super) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// After a success.
    pub(super) const fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// After a failure, in which the server may have said how long to stay away.
    pub(super) fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        self.delay(asked, random_fraction())
    }

    fn delay(&mut self, asked: Option<Duration>, fraction: f64) -> Duration {
        let half = self.next / 2;
        let own = half + half.mul_f64(fraction);
        self.next = (self.next * 2).min(Self::MOST);
        match asked {
            // Not before, and not all at once after.
            Some(asked) => own.max(asked.min(Self::MOST_ASKED) + Duration::from_secs(1).mul_f64(fraction)),
            None => own,
        }
    }
}

/// A part of `most` by chance.
pub(super) fn jitter(most: Duration) -> Duration {
    most.mul_f64(random_fraction())
}

/// From 0 to below 1. The standard library's hasher is seeded by the kernel: enough for dice.
fn random_fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 32) as f64 / f64::from(u32::MAX).next_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_minute_and_falls_back() {
        let mut backoff = Backoff::new();
        let most: Vec<u128> = (0..10).map(|_| backoff.delay(None, 1.0).as_millis()).collect();
        assert_eq!(most, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        backoff.reset();
        assert_eq!(backoff.delay(None, 0.0).as_millis(), 250, "never less than half");
    }

    #[test]
    fn never_comes_back_before_it_was_asked_to_nor_stays_away_for_ever() {
        for (asked, fraction, want) in
            [(7, 0.0, 7_000), (7, 0.5, 7_500), (0, 0.0, 250), (86_400, 0.0, 600_000)]
        {
            let mut backoff = Backoff::new();
            let got = backoff.delay(Some(Duration::from_secs(asked)), fraction).as_millis();
            assert_eq!(got, want, "asked for {asked} s");
        }
    }

    #[test]
    fn the_dice_differ_and_stay_in_bounds() {
        let throws: Vec<f64> = (0..64).map(|_| random_fraction()).collect();
        assert!(throws.iter().all(|throw| (0.0..1.0).contains(throw)), "{throws:?}");
        assert!(throws.windows(2).any(|pair| pair.first() != pair.last()), "{throws:?}");
    }
}
