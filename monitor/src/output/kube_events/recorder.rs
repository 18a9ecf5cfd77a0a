//! What is told of what was seen: when an Event is created, when its series is patched, what is suppressed.
//!
//! Pure: sightings, the outcomes of writes and the time come in, writes come out. One write is under way at a
//! time, so that nothing overtakes its own creation.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use foldhash::quality::RandomState;

use super::bucket::{Bucket, Rate};
use super::note;
use super::pace::Pace;
use super::subject::{Key, Subject};
use crate::identity::pods::ContainerKind;

/// A series whose sightings have ended is finished after this.
const IDLE: Duration = Duration::from_secs(6 * 60);

/// How often a series that goes on is written anew.
const REFRESH: Duration = Duration::from_secs(30 * 60);

/// The clocks, read once for each call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Decides: it never jumps.
    pub(super) instant: Instant,
    /// Is only written down.
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn read() -> Self {
        // The runtime's clock, which a test may turn.
        Self { instant: tokio::time::Instant::now().into_std(), wall: SystemTime::now() }
    }
}

/// What bounds the writes and the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Writes about one pod.
    pub(super) pod: Rate,
    /// Writes of this node.
    pub(super) node: Rate,
    /// Events that are followed at a time, and pods whose budgets are.
    pub(super) events: usize,
    /// Events that wait to be created: what an API server that is away may find when it comes back.
    pub(super) waiting: usize,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self {
        pod: Rate { burst: 5, every: Duration::from_secs(5 * 60) },
        node: Rate { burst: 10, every: Duration::from_secs(60) },
        events: 1024,
        waiting: 64,
    };

    /// The tokens that a mere count leaves for what is new.
    const fn reserve(rate: Rate) -> u32 {
        rate.burst / 2
    }
}

/// What became of sightings. Each one is in exactly one of these once it is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// An Event was created for it.
    pub(crate) created: u64,
    /// It is in the `count` of a series.
    pub(crate) counted: u64,
    /// A limit left it out.
    pub(crate) suppressed: u64,
    /// The API server refused its Event for good.
    pub(crate) refused: u64,
}

/// What the API server made of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done.
    Done,
    /// There is an Event of this name already.
    Exists,
    /// There is no such Event any more.
    Gone,
    /// It will never be done: the object or its namespace is at fault.
    Refused,
    /// Not now, and not before this has passed (429, Retry-After).
    Later(Duration),
    /// Not now: no answer, or the server's fault.
    Failed,
    /// Not before an administrator changes something (401, 403).
    Forbidden,
}

/// An Event to create.
#[derive(Clone, Debug)]
pub(super) struct Create {
    pub(super) key: Key,
    pub(super) name: Box<str>,
    pub(super) note: String,
    pub(super) first: SystemTime,
    pub(super) last: SystemTime,
    pub(super) count: u64,
}

/// The series of an Event to patch: nothing else of an Event may change.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) last: SystemTime,
    pub(super) count: u64,
}

/// One request to the API server.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Create(Create),
    Patch(Patch),
}

/// One Event that is followed.
#[derive(Debug)]
struct Series {
    /// The object's name; unlike the key it is new for each creation.
    name: Box<str>,
    /// The first example.
    text: Box<str>,
    first: SystemTime,
    last: SystemTime,
    /// Sightings.
    count: u64,
    /// How many of them the API server knows of; 0 before it has the Event.
    told: u64,
    seen: Instant,
    written: Instant,
    /// Whether the tokens for its next write are taken.
    paid: bool,
    /// Whether its next write was tried already: the API server may have heard it.
    tried: bool,
}

impl Series {
    /// Whether all is told and nothing was seen for a while.
    fn is_over(&self, now: Instant) -> bool {
        self.told == self.count && now >= self.seen + IDLE
    }
}

/// What is kept of a pod.
#[derive(Debug)]
struct Budget {
    bucket: Bucket,
    /// Sightings that no Event has told of.
    untold: u64,
}

/// A write that is under way.
#[derive(Debug)]
struct InFlight {
    key: Key,
    count: u64,
    creates: bool,
    /// What its note says was not told before.
    untold: u64,
}

/// The recorder's state.
#[derive(Debug)]
pub(super) struct Recorder {
    limits: Limits,
    series: hashbrown::HashMap<Key, Series, RandomState>,
    waiting: usize,
    pods: HashMap<Box<str>, Budget, RandomState>,
    node: Bucket,
    pace: Pace,
    in_flight: Option<InFlight>,
    closing: bool,
    names: u64,
    tally: Tally,
}

/// What one sighting led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A write may be due.
    Wake,
    /// It is counted, and nothing else changed.
    Counted,
    /// A limit left it out.
    Suppressed,
}

impl Recorder {
    /// Nothing seen, every bucket full.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            series: hashbrown::HashMap::default(),
            waiting: 0,
            pods: HashMap::default(),
            node: Bucket::full(now),
            pace: Pace::new(now),
            in_flight: None,
            closing: false,
            names: 0,
            tally: Tally::default(),
        }
    }

    /// Takes a sighting; `tell` is asked only when there shall be an Event: in which list of the pod's spec the
    /// container is, and what to say.
    pub(super) fn observe(
        &mut self,
        subject: &Subject<'_>,
        tell: impl FnOnce() -> (ContainerKind, String),
        now: Now,
    ) -> Seen {
        if let Some(series) = self.series.get_mut(subject).filter(|series| !series.is_over(now.instant)) {
            series.count = series.count.saturating_add(1);
            series.seen = now.instant;
            series.last = now.wall.max(series.first);
            // There is something to write again, now or later; further ones change nothing about that.
            return if series.count == series.told + 1 { Seen::Wake } else { Seen::Counted };
        }
        if !self.admit(subject, now.instant) {
            self.tally.suppressed += 1;
            return Seen::Suppressed;
        }
        let (kind, text) = tell();
        let name = self.name(subject.pod, now.wall);
        let series = Series {
            name,
            text: note::cut(&text, note::LIMIT).into(),
            first: now.wall,
            last: now.wall,
            count: 1,
            told: 0,
            seen: now.instant,
            written: now.instant,
            paid: true,
            tried: false,
        };
        self.series.insert(Key::of(subject, kind), series);
        self.waiting += 1;
        Seen::Wake
    }

    /// Takes the tokens for a new Event; or notes that it is not told of.
    fn admit(&mut self, subject: &Subject<'_>, now: Instant) -> bool {
        if self.series.len() >= self.limits.events {
            self.forget(now);
        }
        let room = self.waiting < self.limits.waiting && self.series.len() < self.limits.events;
        let node_has = self.node.has(self.limits.node, 0, now);
        let (limits, rate) = (self.limits, self.limits.pod);
        let Some(pod) = self.budget(subject.uid, now) else { return false };
        if room && node_has && pod.bucket.has(rate, 0, now) {
            pod.bucket.take(rate, now);
            self.node.take(limits.node, now);
            return true;
        }
        pod.untold = pod.untold.saturating_add(1);
        false
    }

    /// The budget of a pod; none while the budgets of too many others are in use.
    fn budget(&mut self, uid: &str, now: Instant) -> Option<&mut Budget> {
        if !self.pods.contains_key(uid) {
            if self.pods.len() >= self.limits.events {
                // A full bucket is what a pod begins with; what it left untold is in the tally.
                self.pods.retain(|_, pod| !pod.bucket.is_full(now));
            }
            if self.pods.len() >= self.limits.events {
                return None;
            }
            self.pods.insert(uid.into(), Budget { bucket: Bucket::full(now), untold: 0 });
        }
        self.pods.get_mut(uid)
    }

    /// A name that no other Event has: the pod's, when it was, and a running number.
    fn name(&mut self, pod: &str, now: SystemTime) -> Box<str> {
        self.names += 1;
        let micros = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros());
        // A pod's name may have all of the 253 characters that an Event's name may have.
        let end = pod.floor_char_boundary(200);
        let pod = pod.get(..end).unwrap_or_default().trim_end_matches(['.', '-']);
        format!("{pod}.{micros:x}.{:x}", self.names).into()
    }

    /// The write that is to be made now, if any; its outcome must be told by [`Self::finished`].
    pub(super) fn next(&mut self, now: Now) -> Option<Write> {
        if self.in_flight.is_some() || !self.pace.may(now.instant) {
            return None;
        }
        self.forget(now.instant);
        let (_, key) = self.most_urgent(|due| due <= now.instant)?;
        if !self.series.get(&key)?.paid {
            self.pay(&key.uid, now.instant);
        }
        let untold = self.pods.get(&key.uid).map_or(0, |pod| pod.untold);
        let series = self.series.get_mut(&key)?;
        // A retry is not another write.
        series.paid = true;
        let creates = series.told == 0;
        let (last, count, name) = (series.last, series.count, series.name.clone());
        let write = if creates {
            let note = note::finish(&series.text, untold);
            Write::Create(Create { key: key.clone(), name, note, first: series.first, last, count })
        } else {
            Write::Patch(Patch { namespace: key.namespace.clone(), name, last, count })
        };
        self.in_flight = Some(InFlight { key, count, creates, untold });
        Some(write)
    }

    fn pay(&mut self, uid: &str, now: Instant) {
        self.node.take(self.limits.node, now);
        let rate = self.limits.pod;
        if let Some(pod) = self.budget(uid, now) {
            pod.bucket.take(rate, now);
        }
    }

    /// When [`Self::next`] may have something, unless a sighting or an outcome comes first.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let (due, _) = self.most_urgent(|_| true)?;
        Some(due.max(self.pace.resumes()))
    }

    /// Takes the outcome of the write that was under way.
    pub(super) fn finished(&mut self, outcome: Outcome, now: Now) {
        let Some(InFlight { key, count, creates, untold }) = self.in_flight.take() else { return };
        let Some(series) = self.series.get_mut(&key) else { return };
        // The first try had been heard; only its answer was lost.
        let outcome = if outcome == Outcome::Exists && series.tried { Outcome::Done } else { outcome };
        self.pace.outcome(outcome, now.instant);
        match outcome {
            Outcome::Done => {
                let first = u64::from(creates);
                self.tally.created += first;
                self.tally.counted += count - series.told - first;
                series.told = count;
                series.written = now.instant;
                series.paid = false;
                series.tried = false;
                self.waiting -= usize::from(creates);
                if let Some(pod) = self.pods.get_mut(&key.uid).filter(|_| creates) {
                    pod.untold = pod.untold.saturating_sub(untold);
                }
            }
            Outcome::Exists => self.rename(&key, now.wall),
            // It has outlived its time in the API server, or somebody deleted it: a new one takes over.
            Outcome::Gone if !creates => {
                series.count -= series.told;
                series.told = 0;
                series.first = series.last;
                series.paid = false;
                self.waiting += 1;
                self.rename(&key, now.wall);
            }
            Outcome::Gone | Outcome::Refused => {
                self.tally.refused += series.count - series.told;
                self.waiting -= usize::from(series.told == 0);
                self.series.remove(&key);
            }
            Outcome::Later(_) | Outcome::Failed | Outcome::Forbidden => series.tried = true,
        }
    }

    fn rename(&mut self, key: &Key, now: SystemTime) {
        let name = self.name(&key.pod, now);
        if let Some(series) = self.series.get_mut(key) {
            series.name = name;
            series.tried = false;
        }
    }

    /// From now on every series is written as soon as the budgets allow: the agent is about to end.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// What became of the sightings so far.
    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Drops series that are over.
    fn forget(&mut self, now: Instant) {
        self.series.retain(|_, series| !series.is_over(now));
    }

    /// The write that is due first, among those whose time passes `filter`; a creation before a patch.
    fn most_urgent(&self, filter: impl Fn(Instant) -> bool) -> Option<(Instant, Key)> {
        let due = self.series.iter().filter_map(|(key, series)| Some((self.due(key, series)?, series, key)));
        due.filter(|(due, ..)| filter(*due))
            .min_by_key(|(due, series, _)| (series.told > 0, *due, series.first))
            .map(|(due, _, key)| (due, key.clone()))
    }

    /// When something is to be written about a series; none while all is told that will be.
    fn due(&self, key: &Key, series: &Series) -> Option<Instant> {
        let Limits { pod: pod_rate, node: node_rate, .. } = self.limits;
        let budget = |reserve: bool| {
            let of = |rate| if reserve { Limits::reserve(rate) } else { 0 };
            let node = self.node.ready_at(node_rate, of(node_rate));
            let pod = self.pods.get(&key.uid).map(|pod| pod.bucket.ready_at(pod_rate, of(pod_rate)));
            pod.map_or(node, |pod| pod.max(node))
        };
        if series.paid {
            return Some(series.written);
        }
        if series.told == 0 {
            return Some(budget(false));
        }
        if series.count == series.told {
            return None;
        }
        let ends = series.seen + IDLE;
        if self.closing {
            return Some(budget(false));
        }
        // That it has become a series is worth a write of its own; the last word is worth one, too.
        let becomes = if series.told == 1 { series.written } else { series.written + REFRESH };
        Some(budget(true).max(becomes).min(budget(false).max(ends)))
    }
}

#[cfg(test)]
mod tests;
