//! When series end: with the pod or container that they are about, but not before everybody has seen them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::labels::{Label, Owner, Values};
use crate::config::{MetricLabel, MetricLabels};

/// How long a pod's series live after the pod, and after its last event: a job that was denied something and
/// died must still be scraped.
const AFTER_POD: Duration = Duration::from_secs(300);
/// How long series live after their last event when nobody can say whether what they are about is there.
const UNKNOWN_KEEP: Duration = Duration::from_secs(6 * 3_600);

/// Whether a pod is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Here,
    /// It is not.
    Gone,
    /// Nobody knows: there is no source of pods, or it does not answer.
    Unknown,
}

/// The series of one pod, or of one container outside of Kubernetes.
#[derive(Debug)]
pub(super) struct Group {
    times: Mutex<Times>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Times {
    /// The last event.
    touched: Instant,
    /// Since when it is known to be gone.
    gone: Option<Instant>,
}

impl Group {
    /// There was an event.
    pub(super) fn touch(&self, now: Instant) {
        self.times().touched = now;
    }

    /// Whether its series are to go.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether it ends, `presence` being so now.
    fn sweep(&self, now: Instant, presence: Presence) -> bool {
        let mut times = self.times();
        let since = |then| now.saturating_duration_since(then);
        let ends = match presence {
            Presence::Here => {
                times.gone = None;
                false
            }
            Presence::Gone => {
                let gone = *times.gone.get_or_insert(now);
                since(gone) >= AFTER_POD && since(times.touched) >= AFTER_POD
            }
            Presence::Unknown => since(times.touched) >= UNKNOWN_KEEP,
        };
        if ends {
            self.ended.store(true, Ordering::Relaxed);
        }
        ends
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Namespace, pod and, outside of Kubernetes, container.
type Key = [Box<str>; 3];

/// All groups. There are never more than series.
pub(super) struct Groups {
    by_key: HashMap<Key, Arc<Group>>,
    /// Without this label a series is about more than one pod, and does not end with any.
    pods: bool,
    containers: bool,
}

impl Groups {
    pub(super) fn new(wanted: &MetricLabels) -> Self {
        Self {
            by_key: HashMap::new(),
            pods: wanted.has(MetricLabel::Pod),
            containers: wanted.has(MetricLabel::Container),
        }
    }

    /// The group of a series that begins now, with an event.
    pub(super) fn of(&mut self, values: &Values<'_>, now: Instant) -> Option<Arc<Group>> {
        let container = match values.owner() {
            Owner::Pod if self.pods => "",
            Owner::Container if self.containers => values.get(Label::Container),
            _ => return None,
        };
        let key = [values.get(Label::Namespace), values.get(Label::Pod), container].map(Box::from);
        let group = self.by_key.entry(key).or_insert_with(|| {
            let times = Mutex::new(Times { touched: now, gone: None });
            Arc::new(Group { times, ended: AtomicBool::new(false) })
        });
        group.touch(now);
        Some(Arc::clone(group))
    }

    /// Ends what is to end; whether there was any. `presence` is asked for a pod, by namespace and name.
    pub(super) fn sweep(&mut self, now: Instant, presence: impl Fn(&str, &str) -> Presence) -> bool {
        let before = self.by_key.len();
        self.by_key.retain(|[namespace, pod, container], group| {
            let known = if container.is_empty() { presence(namespace, pod) } else { Presence::Unknown };
            !group.sweep(now, known)
        });
        self.by_key.len() < before
    }
}
