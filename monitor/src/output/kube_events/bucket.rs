//! A token bucket whose whole state is one instant.

use std::time::{Duration, Instant};

/// How much a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Tokens in a full bucket.
    pub(super) burst: u32,
    /// The time in which one token comes back.
    pub(super) every: Duration,
}

/// A bucket of tokens that come back with time.
///
/// Kept as the instant at which it is full again, so that it cannot overflow, does not drift, and a bucket
/// that is full need not be kept at all. The instants are monotonic: a wall clock that jumps grants nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// When a token may be taken that leaves `reserve` others; never, with a reserve of the whole burst.
    pub(super) fn ready_at(self, rate: Rate, reserve: u32) -> Instant {
        let missing_at_most = rate.every.saturating_mul(rate.burst.saturating_sub(reserve + 1));
        // An instant before the clock's first is not needed: the bucket is then full.
        self.full_at.checked_sub(missing_at_most).unwrap_or(self.full_at)
    }

    /// Whether a token may be taken now that leaves `reserve` others.
    pub(super) fn has(self, rate: Rate, reserve: u32, now: Instant) -> bool {
        self.ready_at(rate, reserve) <= now
    }

    /// Takes a token, whether it is there or not.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.max(now) + rate.every;
    }

    /// Whether nothing is missing.
    pub(super) fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(60) };

    /// Takes as many as there are.
    fn drain(bucket: &mut Bucket, reserve: u32, now: Instant) -> u32 {
        let mut taken = 0;
        while bucket.has(RATE, reserve, now) {
            bucket.take(RATE, now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_burst_then_one_at_a_time_and_never_more_than_a_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        for (name, after, want) in [
            ("full", 0, 3),
            ("at once again", 0, 0),
            ("just before a token", 59, 0),
            ("one token", 60, 1),
            ("two tokens", 180, 2),
            ("a long rest", 100_000, 3),
        ] {
            assert_eq!(drain(&mut bucket, 0, start + Duration::from_secs(after)), want, "{name}");
        }
    }

    #[test]
    fn a_reserve_is_left_for_others() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut bucket = Bucket::full(start);
        assert_eq!(drain(&mut bucket, 2, start), 1, "with a reserve");
        assert_eq!(bucket.ready_at(RATE, 2), start + RATE.every);
        assert_eq!(drain(&mut bucket, 0, start), 2, "the reserve");
    }

    #[test]
    fn a_full_bucket_is_known_as_one() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        assert!(bucket.is_full(start));
        bucket.take(RATE, start);
        assert!(!bucket.is_full(start));
        assert!(bucket.is_full(start + RATE.every));
    }
}
