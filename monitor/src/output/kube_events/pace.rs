//! How fast an API server that refuses is asked again.

use std::time::{Duration, Instant};

use super::recorder::Outcome;

/// The first pause after a failure; each further one doubles it.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(2 * 60);
/// The pause when permission is missing: it is given by a person.
const FORBIDDEN: Duration = Duration::from_secs(5 * 60);
/// No server may silence an agent for longer.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(10 * 60);

/// When the next request may be made.
#[derive(Debug)]
pub(super) struct Pace {
    resumes: Instant,
    failures: u32,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { resumes: now, failures: 0 }
    }

    /// Whether a request may be made now.
    pub(super) fn may(&self, now: Instant) -> bool {
        self.resumes <= now
    }

    /// When a request may be made again.
    pub(super) const fn resumes(&self) -> Instant {
        self.resumes
    }

    /// Learns from the outcome of a request.
    pub(super) fn outcome(&mut self, outcome: Outcome, now: Instant) {
        let pause = match outcome {
            Outcome::Done | Outcome::Gone | Outcome::Refused => {
                self.failures = 0;
                return;
            }
            Outcome::Later(pause) => pause.clamp(SHORTEST, RETRY_AFTER_LIMIT),
            Outcome::Failed | Outcome::Exists => {
                let pause = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
                self.failures += 1;
                pause
            }
            Outcome::Forbidden => FORBIDDEN,
        };
        self.resumes = now + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_end_with_success() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for (name, outcome, want) in [
            ("first failure", Outcome::Failed, 1),
            ("second", Outcome::Failed, 2),
            ("third", Outcome::Failed, 4),
            ("told when", Outcome::Later(Duration::from_secs(7)), 7),
            ("told at once", Outcome::Later(Duration::ZERO), 1),
            ("told next year", Outcome::Later(Duration::from_secs(1 << 40)), 600),
            ("forbidden", Outcome::Forbidden, 300),
        ] {
            pace.outcome(outcome, now);
            assert_eq!(pace.resumes(), now + Duration::from_secs(want), "{name}");
        }
        for _ in 0..50 {
            pace.outcome(Outcome::Failed, now);
        }
        assert_eq!(pace.resumes(), now + LONGEST);
        let later = now + LONGEST;
        assert!(pace.may(later) && !pace.may(now));
        pace.outcome(Outcome::Done, later);
        pace.outcome(Outcome::Failed, later);
        assert_eq!(pace.resumes(), later + SHORTEST);
    }
}
