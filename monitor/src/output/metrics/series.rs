//! Series by their label values: found without an allocation, added until the limit, read by a scrape.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::groups::{Group, Groups, Presence};
use super::labels::{Label, OF_EVENTS, OF_LAST_EVENT, OF_SILENT, Values, chosen};
use crate::config::MetricLabels;

/// One series: its label values, in the order of its family's labels, and its number.
#[derive(Debug)]
pub(super) struct Series<T> {
    pub(super) values: Box<[Box<str>]>,
    pub(super) number: T,
    /// What it ends with; none if it never does.
    group: Option<Arc<Group>>,
}

/// The series of one metric.
///
/// Keyed by a hash that is seeded anew in each process: profile names may be chosen by somebody who would
/// like them to collide.
struct Family<T> {
    labels: Box<[Label]>,
    hasher: RandomState,
    series: HashTable<Arc<Series<T>>>,
}

impl<T> Family<T> {
    fn new(labels: Box<[Label]>) -> Self {
        Self { labels, hasher: RandomState::default(), series: HashTable::new() }
    }

    fn find(&self, values: &Values<'_>) -> Option<&Arc<Series<T>>> {
        let mut texts = [""; Label::COUNT];
        let texts = texts.get_mut(..self.labels.len())?;
        for (text, label) in texts.iter_mut().zip(&self.labels) {
            *text = values.get(*label);
        }
        let hash = hash(&self.hasher, texts.iter().copied());
        self.series
            .find(hash, |series| texts.iter().zip(&series.values).all(|(text, value)| same(text, value)))
    }

    /// Adds a series that [`Self::find`] has not found.
    fn add(&mut self, values: &Values<'_>, number: T, group: Option<Arc<Group>>) -> Arc<Series<T>> {
        let values: Box<[Box<str>]> = self.labels.iter().map(|label| values.get(*label).into()).collect();
        let series = Arc::new(Series { values, number, group });
        let hash_of =
            |series: &Arc<Series<T>>| hash(&self.hasher, series.values.iter().map(|value| &**value));
        self.series.insert_unique(hash_of(&series), Arc::clone(&series), hash_of);
        series
    }

    fn all(&self) -> Vec<Arc<Series<T>>> {
        self.series.iter().cloned().collect()
    }

    /// Removes the series of groups that have ended.
    fn sweep(&mut self) {
        self.series.retain(|series| series.group.as_ref().is_none_or(|group| !group.ended()));
    }
}

/// Whether two label values are equal.
///
/// Not left to `memcmp` when both are empty: an empty `Box<str>` points nowhere, and the masked load of
/// glibc's AVX-512 version takes 150 ns to find out that it need not fault. Half of the labels may be empty.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}

fn hash<'a>(hasher: &RandomState, values: impl Iterator<Item = &'a str>) -> u64 {
    let mut hasher = hasher.build_hasher();
    for value in values {
        if !value.is_empty() {
            hasher.write(value.as_bytes());
        }
        // No text holds this byte, so that "a", "bc" and "ab", "c" differ.
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// What is known of one label set: how often, and the series that knows when last.
#[derive(Debug)]
pub(super) struct Tally {
    count: AtomicU64,
    latest: Arc<Series<Latest>>,
}

impl Tally {
    /// How many events there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&self, time: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.latest.number.0.fetch_max(time, Ordering::Relaxed);
    }
}

/// The time of the latest event, nanoseconds since the epoch.
#[derive(Debug)]
pub(super) struct Latest(AtomicU64);

impl Latest {
    /// In seconds since the epoch.
    pub(super) fn seconds(&self) -> f64 {
        // Milliseconds are exact in a double; nanoseconds would only look so.
        let milliseconds = self.0.load(Ordering::Relaxed) / 1_000_000;
        milliseconds as f64 / 1_000.0
    }
}

/// All series of the event metrics.
pub(super) struct Store {
    events: Family<Tally>,
    latest: Family<Latest>,
    silent: Family<AtomicU64>,
    groups: Groups,
    limit: usize,
}

/// Where an event was counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Under its own labels.
    Itself,
    /// Under `__other__`: the limit is reached.
    AmongTheRest,
}

impl Store {
    pub(super) fn new(limit: usize, wanted: &MetricLabels) -> Self {
        Self {
            events: Family::new(chosen(OF_EVENTS, wanted)),
            latest: Family::new(chosen(OF_LAST_EVENT, wanted)),
            silent: Family::new(chosen(OF_SILENT, wanted)),
            groups: Groups::new(wanted),
            limit,
        }
    }

    /// Counts one event that happened at `time`, nanoseconds since the epoch, and is counted at `now`, which most
    /// of a log's events need not know.
    pub(super) fn count(&mut self, values: &Values<'_>, time: u64, now: impl Fn() -> Instant) -> Counted {
        if let Some(series) = self.events.find(values) {
            series.number.add(time);
            if let Some(group) = &series.group {
                group.touch(now());
            }
            return Counted::Itself;
        }
        // A new label set takes two series at most.
        if self.len() + 2 <= self.limit {
            self.add(values, time, now());
            return Counted::Itself;
        }
        // These may pass the limit, by as many as there are verdicts, classes and operations at most.
        let rest = values.of_the_rest();
        match self.events.find(&rest) {
            Some(series) => series.number.add(time),
            None => self.add(&rest, time, now()),
        }
        Counted::AmongTheRest
    }

    /// Counts `count` denials without a record.
    pub(super) fn count_unrecorded(&mut self, values: &Values<'_>, count: u64, now: Instant) -> Counted {
        if let Some(series) = self.silent.find(values) {
            series.number.fetch_add(count, Ordering::Relaxed);
            if let Some(group) = &series.group {
                group.touch(now);
            }
            return Counted::Itself;
        }
        if self.len() < self.limit {
            let group = self.groups.of(values, now);
            self.silent.add(values, AtomicU64::new(count), group);
            return Counted::Itself;
        }
        // These may pass the limit, by as many as there are classes and reasons at most.
        let rest = values.of_the_rest();
        match self.silent.find(&rest) {
            Some(series) => drop(series.number.fetch_add(count, Ordering::Relaxed)),
            None => drop(self.silent.add(&rest, AtomicU64::new(count), None)),
        }
        Counted::AmongTheRest
    }

    fn add(&mut self, values: &Values<'_>, time: u64, now: Instant) {
        let group = self.groups.of(values, now);
        let latest = match self.latest.find(values) {
            Some(latest) => Arc::clone(latest),
            None => self.latest.add(values, Latest(AtomicU64::new(time)), group.clone()),
        };
        let tally = self.events.add(values, Tally { count: AtomicU64::new(0), latest }, group);
        tally.number.add(time);
    }

    /// Removes the series of what has been gone for long enough.
    pub(super) fn sweep(&mut self, now: Instant, presence: impl Fn(&str, &str) -> Presence) {
        if self.groups.sweep(now, presence) {
            self.events.sweep();
            self.latest.sweep();
            self.silent.sweep();
        }
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.events.series.len() + self.latest.series.len() + self.silent.series.len()
    }

    /// The series of `apparmor_events_total`, and their labels.
    pub(super) fn events(&self) -> (Box<[Label]>, Vec<Arc<Series<Tally>>>) {
        (self.events.labels.clone(), self.events.all())
    }

    /// The series of `apparmor_last_event_timestamp_seconds`, and their labels.
    pub(super) fn latest(&self) -> (Box<[Label]>, Vec<Arc<Series<Latest>>>) {
        (self.latest.labels.clone(), self.latest.all())
    }

    /// The series of `apparmor_silent_denials_total`, and their labels.
    pub(super) fn silent(&self) -> (Box<[Label]>, Vec<Arc<Series<AtomicU64>>>) {
        (self.silent.labels.clone(), self.silent.all())
    }
}
