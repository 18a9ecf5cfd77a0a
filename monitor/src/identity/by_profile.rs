//! The container that must have been the one because it alone runs under the profile, for a record whose process
//! has ended.
//!
//! A look at the whole node is needed for that, and it is believed only where it shows what was there when the
//! record was made: no cgroup was made or removed from shortly before the record until after the look, and the look
//! came soon. What nobody can exclude is a process of the host that is put under a container's profile by hand
//! (`aa-exec`), was never seen under it, and ends before it is looked at.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::containers::{Containers, Owner};
use super::process::Processes;
use super::sightings::Sightings;
use super::still::Still;
use super::tree::Tree;
use super::{Container, cgroup, sole};
use crate::node::Attachments;
use crate::record::{Violation, profile_base};

/// Between two looks at least.
const EVERY: Duration = Duration::from_millis(100);
/// And so many times what the last one took: the node has other processes to run.
const SHARE: u32 = 10;
/// When there is no way to look, how long until that is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// What is older when it is looked for is not: meanwhile a process can have changed its profile.
const LATE: u64 = 1_000_000_000;
/// How long before the record nothing may have changed.
const BEFORE: u64 = 50_000_000;
/// An audit stamp is that old at most when its record is made (`ktime_get_coarse_real_ts64`).
const COARSE: u64 = 10_000_000;

/// What was to be seen on the node. Times are nanoseconds since the epoch.
#[derive(Debug)]
struct Look {
    /// Since when no cgroup was made or removed.
    still: u64,
    /// When it began.
    at: u64,
    /// The label of each process, and whose it is.
    seen: Vec<(Vec<u8>, Owner)>,
    /// The containers that have a cgroup.
    there: HashSet<Box<str>>,
    /// The one container that each profile's processes are of, where programs of the host do not attach to it: found
    /// out when it is asked for, once, because all processes and profiles are gone through for it.
    sole: HashMap<Box<[u8]>, Option<Arc<Container>>>,
}

impl Look {
    /// Whether it shows what was there when a record of `time` was made, which was `by` later at most.
    fn shows(&self, time: u64, by: u64) -> bool {
        let (after, until) = (self.still.saturating_add(BEFORE), self.at.saturating_sub(by));
        (after..=until).contains(&time) && self.at - time <= LATE
    }
}

/// Looks at the node, not too often.
#[derive(Debug)]
pub(super) struct ByProfile {
    tree: Option<Tree>,
    processes: Processes,
    attachments: Attachments,
    still: Option<Still>,
    sightings: Sightings,
    look: Option<Look>,
    next: Instant,
    next_hearing: Instant,
    told: bool,
}

impl ByProfile {
    /// Nothing is looked at, and no cgroup watched, before it is asked for the first time.
    pub(super) fn new(
        tree: Option<Tree>,
        processes: Processes,
        attachments: Attachments,
        keep: Duration,
        now: Instant,
    ) -> Self {
        let sightings = Sightings::new(keep);
        Self {
            tree,
            processes,
            attachments,
            still: None,
            sightings,
            look: None,
            next: now,
            next_hearing: now,
            told: false,
        }
    }

    /// Whose a violation was is known otherwise.
    pub(super) fn note(&mut self, violation: &Violation<'_>, owner: &Owner, now: Instant) {
        if let Some(profile) = profile_of(violation) {
            self.sightings.note(&profile, owner, now);
        }
    }

    /// The container, if no other and nobody on the host can have been the one. `wall` is `now` in nanoseconds
    /// since the epoch.
    pub(super) fn find(
        &mut self,
        violation: &Violation<'_>,
        containers: &mut Containers,
        now: Instant,
        wall: u64,
    ) -> Option<Arc<Container>> {
        let profile = profile_of(violation)?;
        let time = violation.time?;
        if wall.checked_sub(time)? > LATE {
            return None;
        }
        let mut by = COARSE;
        if !self.look.as_ref().is_some_and(|look| look.shows(time, by)) {
            self.look_around(containers, now, wall);
            // This record was there before.
            by = 0;
        }
        let Look { seen, there, sole, .. } = self.look.as_mut().filter(|look| look.shows(time, by))?;
        let container = match sole.get(&*profile) {
            Some(known) => known.clone(),
            None => {
                // Whatever program of the host is such a profile's is under it by being started.
                let found = sole::container(&profile, seen, there)
                    .filter(|_| self.attachments.has(&profile) == Some(false));
                sole.insert((&*profile).into(), found.clone());
                found
            }
        }?;
        (!self.sightings.others(&profile, &container.id, there, now)).then_some(container)
    }

    /// Forgets what was seen too long ago, and hears what has changed, so that it is known when.
    pub(super) fn expire(&mut self, now: Instant, wall: u64) {
        self.sightings.expire(now);
        let Some(still) = self.still.as_mut().filter(|_| now >= self.next_hearing) else { return };
        // Where something was made, all folders are gone through.
        let (began, heard) = (Instant::now(), still.since(wall));
        self.next_hearing = now + began.elapsed() * SHARE;
        if let Err(why) = heard {
            self.give_up(&why, now);
        }
    }

    fn look_around(&mut self, containers: &mut Containers, now: Instant, wall: u64) {
        self.look = None;
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        match self.try_to_look(containers, now, wall) {
            Ok(look) => self.look = look,
            Err(why) => self.give_up(&why, now),
        }
        self.next = self.next.max(now + now.elapsed() * SHARE);
    }

    fn try_to_look(
        &mut self,
        containers: &mut Containers,
        now: Instant,
        wall: u64,
    ) -> Result<Option<Look>, String> {
        let Some(tree) = &self.tree else { return Ok(None) };
        let still = match &mut self.still {
            Some(still) => still,
            none => none.insert(Still::of(tree, wall)?),
        };
        let since = still.since(wall)?;
        let mut there = HashSet::new();
        tree.walk(|_, path| {
            if let Owner::Container(container) = containers.owner(cgroup::parse(path)) {
                there.insert(container.id.clone());
            }
        });
        let mut seen = Vec::new();
        self.processes.each(|label, place| seen.push((label.to_vec(), containers.owner(place))));
        for (label, owner) in &seen {
            for profile in sole::profiles(label) {
                self.sightings.note(&profile, owner, now);
            }
        }
        if still.changed() {
            return Ok(None);
        }
        Ok(Some(Look { still: since, at: wall, seen, there, sole: HashMap::new() }))
    }

    fn give_up(&mut self, why: &str, now: Instant) {
        (self.still, self.look, self.next) = (None, None, now + RETRY);
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("no record will be told to be a container's by its profile alone: {why}");
        }
    }
}

/// The profile by which a violation's container can be told: one of this machine's own, learning apart.
fn profile_of<'a>(violation: &Violation<'a>) -> Option<Cow<'a, [u8]>> {
    violation.profile.filter(|_| violation.namespace.is_none()).map(profile_base)
}

#[cfg(test)]
mod tests;
