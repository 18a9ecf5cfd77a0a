//! Who was seen under which profile lately. Whoever was seen under it once can have been the one again, though no
//! process shows it now. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::containers::Owner;

/// Profiles that are remembered; a node has some dozens.
const PROFILES: usize = 1_024;
/// Owners that are remembered of each. More are as good as any number.
const OWNERS: usize = 8;

/// A container's id; none for the host.
type Whose = Option<Box<str>>;

/// The owners of what was seen under each profile, and when each was last seen.
#[derive(Debug)]
pub(super) struct Sightings {
    keep: Duration,
    by_profile: HashMap<Box<[u8]>, Vec<(Whose, Instant)>>,
    /// When one was last left out for want of room.
    left_out: Option<Instant>,
}

impl Sightings {
    /// None yet; each counts for as long as `keep`.
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, by_profile: HashMap::new(), left_out: None }
    }

    /// A process of `owner` was under `profile`. What cannot be told to be a container's may be the host's.
    pub(super) fn note(&mut self, profile: &[u8], owner: &Owner, now: Instant) {
        let whose = match owner {
            Owner::Container(container) => Some(&*container.id),
            Owner::Host | Owner::Untold => None,
        };
        if let Some(owners) = self.by_profile.get_mut(profile) {
            if let Some((_, seen)) = owners.iter_mut().find(|(known, _)| known.as_deref() == whose) {
                *seen = now;
            } else if owners.len() < OWNERS {
                owners.push((whose.map(Into::into), now));
            }
        } else if self.by_profile.len() < PROFILES {
            self.by_profile.insert(profile.into(), vec![(whose.map(Into::into), now)]);
        } else {
            self.left_out = Some(now);
        }
    }

    /// Whether anybody but `container` can be under `profile`: the host where it was, and the containers of
    /// `there` that were.
    pub(super) fn others(
        &self,
        profile: &[u8],
        container: &str,
        there: &HashSet<Box<str>>,
        now: Instant,
    ) -> bool {
        let fresh = |seen: Instant| now.saturating_duration_since(seen) < self.keep;
        if self.left_out.is_some_and(fresh) {
            return true;
        }
        let Some(owners) = self.by_profile.get(profile) else { return false };
        owners.len() >= OWNERS
            || owners.iter().any(|(whose, seen)| {
                fresh(*seen) && whose.as_deref().is_none_or(|id| id != container && there.contains(id))
            })
    }

    /// Forgets what has been for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let keep = self.keep;
        self.by_profile.retain(|_, owners| {
            owners.retain(|(_, seen)| now.saturating_duration_since(*seen) < keep);
            !owners.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Container;

    fn owner(id: &str) -> Owner {
        Owner::Container(Arc::new(Container { id: id.into(), ..Container::default() }))
    }

    #[test]
    fn whoever_was_seen_and_is_there_can_be_the_one() {
        let start = Instant::now();
        let keep = Duration::from_secs(600);
        let many: Vec<_> = (0..OWNERS).map(|number| owner(&number.to_string())).collect();
        for (name, seen, there, after, want) in [
            ("nobody", vec![], vec!["a"], 0, false),
            ("itself", vec![owner("a")], vec!["a"], 0, false),
            ("another that is there", vec![owner("a"), owner("b")], vec!["a", "b"], 0, true),
            ("another that is gone", vec![owner("b"), owner("a")], vec!["a"], 0, false),
            ("the host", vec![Owner::Host], vec!["a"], 599, true),
            ("the host, long ago", vec![Owner::Host], vec!["a"], 600, false),
            ("nobody knows whose", vec![Owner::Untold], vec!["a"], 0, true),
            ("more than are remembered", many, vec!["a"], 0, true),
        ] {
            let mut sightings = Sightings::new(keep);
            for owner in &seen {
                sightings.note(b"web", owner, start);
                sightings.note(b"db", &Owner::Host, start);
            }
            let there = there.into_iter().map(Into::into).collect();
            let now = start + Duration::from_secs(after);
            assert_eq!(sightings.others(b"web", "a", &there, now), want, "{name}");
            sightings.expire(now);
            let still = want && after < 600;
            assert_eq!(sightings.others(b"web", "a", &there, now), still, "{name}, after forgetting");
        }
    }

    #[test]
    fn what_there_is_no_room_for_makes_everybody_doubtful() {
        let start = Instant::now();
        let mut sightings = Sightings::new(Duration::from_secs(600));
        for number in 0..=PROFILES {
            sightings.note(number.to_string().as_bytes(), &owner("a"), start);
        }
        assert_eq!(sightings.by_profile.len(), PROFILES);
        let there = HashSet::from(["a".into()]);
        assert!(sightings.others(b"0", "a", &there, start));
        let later = start + Duration::from_secs(600);
        sightings.expire(later);
        assert!(sightings.by_profile.is_empty() && !sightings.others(b"0", "a", &there, later));
    }
}
