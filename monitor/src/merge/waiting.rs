//! A bounded room in which sightings wait for their partner.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Items by key, kept in the order of arrival until they are taken, until their time is up, or until the
/// room is full. Several items may wait under one key; the oldest is taken first.
#[derive(Debug)]
pub(super) struct Waiting<K, T> {
    limit: usize,
    arrived: u64,
    items: BTreeMap<u64, (Instant, K, T)>,
    tickets: HashMap<K, Vec<u64>>,
}

impl<K: Copy + Eq + Hash, T> Waiting<K, T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, arrived: 0, items: BTreeMap::new(), tickets: HashMap::new() }
    }

    /// Lets an item wait until `until`; gives back the oldest when the room is full. `until` must not be
    /// earlier than that of items already waiting.
    pub(super) fn insert(&mut self, key: K, item: T, until: Instant) -> Option<T> {
        let evicted = if self.items.len() >= self.limit { self.pop_oldest() } else { None };
        self.arrived += 1;
        self.items.insert(self.arrived, (until, key, item));
        self.tickets.entry(key).or_default().push(self.arrived);
        evicted
    }

    /// Takes the oldest item of this key.
    pub(super) fn take(&mut self, key: &K) -> Option<T> {
        let tickets = self.tickets.get_mut(key)?;
        let ticket = tickets.remove(0);
        if tickets.is_empty() {
            self.tickets.remove(key);
        }
        self.items.remove(&ticket).map(|(_, _, item)| item)
    }

    /// Takes the oldest item whose time is up.
    pub(super) fn expired(&mut self, now: Instant) -> Option<T> {
        if self.deadline()? > now {
            return None;
        }
        self.pop_oldest()
    }

    /// When the oldest item's time is up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.items.first_key_value().map(|(_, (until, _, _))| *until)
    }

    /// Takes the oldest item, whether its time is up or not.
    pub(super) fn pop_oldest(&mut self) -> Option<T> {
        let (_, (_, key, _)) = self.items.first_key_value()?;
        let key = *key;
        self.take(&key)
    }
}
