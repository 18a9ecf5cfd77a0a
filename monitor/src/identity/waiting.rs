//! The room for events whose container is not known by name yet. Pure: told what time it is.
//!
//! A container runs before its pod's status has its id, by a second or so. What it is denied in that time waits
//! here for the name, a few seconds at most, and is counted under what is known by then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long an event waits at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// For how long nothing more of a container waits that was waited for in vain.
const DISAPPOINTMENT: Duration = Duration::from_secs(60);
/// Bytes that wait at most: some ten thousand events.
const BYTES: usize = 4 << 20;
/// Containers that are waited for, and as many that are not any more.
const CONTAINERS: usize = 256;

/// Events of one container.
struct Waiting<T> {
    until: Instant,
    events: Vec<T>,
    bytes: usize,
}

/// The room, by container id.
pub struct Room<T> {
    waiting: HashMap<Box<str>, Waiting<T>>,
    given_up: HashMap<Box<str>, Instant>,
    bytes: usize,
}

/// Why an event does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name did not come for the ones before.
    GivenUp,
    /// Too much waits already.
    Full,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), given_up: HashMap::new(), bytes: 0 }
    }
}

impl<T> Room<T> {
    /// Takes in an event of the container `id`, which holds so many bytes; or hands it back.
    pub fn wait(&mut self, id: &str, event: T, bytes: usize, now: Instant) -> Result<(), (T, Refused)> {
        if self.given_up.get(id).is_some_and(|until| now < *until) {
            return Err((event, Refused::GivenUp));
        }
        // An event is never free, or there could be any number of empty ones.
        let bytes = bytes + size_of::<T>();
        let known = self.waiting.contains_key(id);
        if self.bytes + bytes > BYTES || (!known && self.waiting.len() >= CONTAINERS) {
            return Err((event, Refused::Full));
        }
        self.bytes += bytes;
        let waiting = self.waiting.entry(id.into()).or_insert_with(|| Waiting {
            until: now + PATIENCE,
            events: Vec::new(),
            bytes: 0,
        });
        waiting.events.push(event);
        waiting.bytes += bytes;
        Ok(())
    }

    /// The events of a container that is `known` by now; none when there is no such container.
    pub fn known(&mut self, known: impl Fn(&str) -> bool) -> Option<Vec<T>> {
        let id = self.waiting.keys().find(|id| known(id))?.clone();
        self.take(&id)
    }

    /// The events of a container that was waited for for long enough.
    pub fn expired(&mut self, now: Instant) -> Option<Vec<T>> {
        let id = self.waiting.iter().find(|(_, waiting)| waiting.until <= now)?.0.clone();
        self.given_up.retain(|_, until| now < *until);
        if self.given_up.len() < CONTAINERS {
            self.given_up.insert(id.clone(), now + DISAPPOINTMENT);
        }
        self.take(&id)
    }

    /// The events of any container; for the end.
    pub fn drain(&mut self) -> Option<Vec<T>> {
        let id = self.waiting.keys().next()?.clone();
        self.take(&id)
    }

    /// When to look for [`Self::expired`] ones.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take(&mut self, id: &str) -> Option<Vec<T>> {
        let waiting = self.waiting.remove(id)?;
        self.bytes -= waiting.bytes;
        Some(waiting.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_wait_for_their_container_and_come_in_their_order() {
        let now = Instant::now();
        let mut room = Room::default();
        for (id, event) in [("a", 1), ("b", 2), ("a", 3)] {
            room.wait(id, event, 10, now).expect("room");
        }
        assert_eq!(room.known(|id| id == "c"), None);
        assert_eq!(room.known(|id| id == "a"), Some(vec![1, 3]));
        assert_eq!(room.known(|id| id == "a"), None);
        assert_eq!(room.drain(), Some(vec![2]));
        assert!(room.is_empty() && room.deadline().is_none() && room.bytes == 0);
    }

    #[test]
    fn nobody_waits_for_longer_than_the_first_and_then_nobody_waits_for_a_while() {
        let start = Instant::now();
        let mut room = Room::default();
        room.wait("a", 1, 0, start).expect("room");
        room.wait("a", 2, 0, start + PATIENCE / 2).expect("room");
        assert_eq!(room.expired(start + PATIENCE / 2), None);
        let end = room.deadline().expect("somebody waits");
        assert_eq!(end, start + PATIENCE);
        assert_eq!(room.expired(end), Some(vec![1, 2]));
        assert_eq!(room.wait("a", 3, 0, end), Err((3, Refused::GivenUp)));
        assert_eq!(room.wait("b", 3, 0, end), Ok(()), "another may");
        assert_eq!(room.wait("a", 4, 0, end + DISAPPOINTMENT), Ok(()));
    }

    #[test]
    fn the_room_has_walls() {
        let now = Instant::now();
        let mut room = Room::default();
        let mut taken = 0;
        while room.wait("a", 0_u64, 1_000, now).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, BYTES / 1_008);
        assert_eq!(room.wait("b", 7, 1_000, now), Err((7, Refused::Full)));
        let mut room = Room::default();
        for id in 0..CONTAINERS {
            room.wait(&id.to_string(), 0, 0, now).expect("room");
        }
        assert_eq!(room.wait("one more", 7, 0, now), Err((7, Refused::Full)));
        assert_eq!(room.wait("0", 7, 0, now), Ok(()), "for one that is waited for");
        while room.expired(now + PATIENCE).is_some() {}
        assert_eq!(room.given_up.len(), CONTAINERS);
    }
}
