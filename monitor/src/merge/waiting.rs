//! A bounded room in which sightings wait for their partner.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use foldhash::fast::RandomState;

/// Items by key, kept in the order of arrival until they are taken, until their time is up, or until the
/// room is full. Several items may wait under one key; the oldest is taken first.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    limit: usize,
    waiting: usize,
    /// The ticket of the first item; the next ones follow. A taken item leaves its place behind.
    first: u64,
    items: VecDeque<Option<Item<T>>>,
    /// The oldest and the newest ticket of each key. Keys are hashes that nobody can foresee: a quick hasher will do.
    tickets: HashMap<u64, (u64, u64), RandomState>,
}

#[derive(Debug)]
struct Item<T> {
    until: Instant,
    key: u64,
    item: T,
    /// The ticket of the next item of the same key.
    next: Option<u64>,
}

impl<T> Waiting<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, waiting: 0, first: 0, items: VecDeque::new(), tickets: HashMap::default() }
    }

    /// Lets an item wait until `until`; gives back the oldest when the room is full. `until` must not be
    /// earlier than that of items already waiting.
    pub(super) fn insert(&mut self, key: u64, item: T, until: Instant) -> Option<T> {
        // Places that were left behind are room too, but not without end: the oldest item holds them up.
        let full = self.waiting >= self.limit || self.items.len() >= 4 * self.limit;
        let evicted = if full { self.pop_oldest() } else { None };
        let ticket = self.first + self.items.len() as u64;
        let last = self.tickets.get(&key).map(|(_, last)| *last);
        match last.and_then(|last| self.get(last)) {
            Some(item) => item.next = Some(ticket),
            None => drop(self.tickets.insert(key, (ticket, ticket))),
        }
        if let Some((_, last)) = self.tickets.get_mut(&key) {
            *last = ticket;
        }
        self.items.push_back(Some(Item { until, key, item, next: None }));
        self.waiting += 1;
        evicted
    }

    /// Takes the oldest item of this key.
    pub(super) fn take(&mut self, key: u64) -> Option<T> {
        let (ticket, last) = *self.tickets.get(&key)?;
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let Item { item, next, .. } = self.items.get_mut(index)?.take()?;
        match next {
            Some(next) => drop(self.tickets.insert(key, (next, last))),
            None => drop(self.tickets.remove(&key)),
        }
        self.waiting -= 1;
        while self.items.pop_front_if(|place| place.is_none()).is_some() {
            self.first += 1;
        }
        Some(item)
    }

    /// When the oldest item's time is up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.items.front()?.as_ref().map(|item| item.until)
    }

    /// The oldest item.
    pub(super) fn oldest(&self) -> Option<&T> {
        self.items.front()?.as_ref().map(|item| &item.item)
    }

    /// Takes the oldest item, whether its time is up or not.
    pub(super) fn pop_oldest(&mut self) -> Option<T> {
        let key = self.items.front()?.as_ref()?.key;
        self.take(key)
    }

    fn get(&mut self, ticket: u64) -> Option<&mut Item<T>> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        self.items.get_mut(index)?.as_mut()
    }
}
