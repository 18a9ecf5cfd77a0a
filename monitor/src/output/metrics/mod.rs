//! The agent's numbers, as Prometheus reads them.

mod agent;
mod groups;
mod history;
mod labels;
mod names;
mod node;
mod pods;
mod process;
pub mod reference;
mod series;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Histogram, HistogramOpts, HistogramVec, TextEncoder};

pub use self::groups::Presence;
pub(super) use self::labels::profile as profile_label;
use self::labels::{Label, Values};
use self::names::Name;
use self::series::{Counted, Series, Store};
use crate::capture::Source;
use crate::config::MetricLabels;
use crate::identity::unrecorded::Unrecorded;
use crate::ledger::Ledger;
use crate::merge::Event;
use crate::node::Node;
use crate::output::history::History;
use crate::output::kube_events::KubeEvents;
use crate::output::live::Live;
use crate::record::{Class, Origin, Verdict};

/// The upper bounds of `aa_monitor_event_latency_seconds`: from a ring read at once to a queue that stands.
const LATENCY_BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// All metrics of one agent.
///
/// Counting an event whose labels are known takes one lookup and no allocation. A scrape holds the lock
/// only while it copies a list of pointers.
pub struct Metrics {
    ledger: Arc<Ledger>,
    store: Mutex<Store>,
    node_events: [[AtomicU64; Class::ALL.len()]; Verdict::ALL.len()],
    series_limit: usize,
    series_dropped: AtomicU64,
    latency: HistogramVec,
    latency_of_ebpf: Histogram,
    latency_of_audit: Histogram,
    shown: OnceLock<(Arc<History>, Arc<Live>)>,
    node: OnceLock<Arc<Node>>,
    kube_events: OnceLock<Arc<KubeEvents>>,
}

impl Metrics {
    /// All at zero. Beyond `series_limit` series, events are counted under `__other__`.
    pub fn new(ledger: Arc<Ledger>, series_limit: usize) -> Result<Self, prometheus::Error> {
        Self::with_labels(ledger, series_limit, &MetricLabels::default())
    }

    /// The same, of which the event metrics have only these labels.
    pub fn with_labels(
        ledger: Arc<Ledger>,
        series_limit: usize,
        wanted: &MetricLabels,
    ) -> Result<Self, prometheus::Error> {
        let options =
            HistogramOpts::new(names::LATENCY.name, names::LATENCY.help).buckets(LATENCY_BUCKETS.to_vec());
        let latency = HistogramVec::new(options, &["source"])?;
        Ok(Self {
            ledger,
            store: Mutex::new(Store::new(series_limit, wanted)),
            node_events: Default::default(),
            series_limit,
            series_dropped: AtomicU64::new(0),
            latency_of_ebpf: latency.get_metric_with_label_values(&[Source::Ebpf.as_str()])?,
            latency_of_audit: latency.get_metric_with_label_values(&[Source::Audit.as_str()])?,
            latency,
            shown: OnceLock::new(),
            node: OnceLock::new(),
            kube_events: OnceLock::new(),
        })
    }

    /// Also shows what these count.
    pub fn show(&self, history: Arc<History>, live: Arc<Live>) {
        // Only the first ones: there is one of each.
        let _ = self.shown.set((history, live));
    }

    /// Tells of the node's state, too, from now on.
    pub fn tell_of_node(&self, node: Arc<Node>) {
        // There is one node; a second call would be about the same.
        let _ = self.node.set(node);
    }

    /// Tells what becomes of Kubernetes Events, too, from now on.
    pub fn tell_of_kube_events(&self, events: Arc<KubeEvents>) {
        let _ = self.kube_events.set(events);
    }

    /// Counts `event`.
    pub fn observe(&self, event: &Event<'_>) {
        let violation = event.violation;
        let latency = match violation.origin {
            Origin::Ebpf => Some(&self.latency_of_ebpf),
            Origin::Netlink => Some(&self.latency_of_audit),
            // From a log there is no telling how long it took.
            Origin::Kmsg | Origin::File => None,
        };
        let time = violation.time.unwrap_or_else(since_epoch);
        self.node_event(violation.verdict, violation.class).fetch_add(1, Ordering::Relaxed);
        if self.store().count(&Values::of(event), time, Instant::now) == Counted::AmongTheRest {
            self.series_dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((latency, time)) = latency.zip(violation.time) {
            latency.observe(since_epoch().saturating_sub(time) as f64 / 1e9);
        }
    }

    /// Counts denials without a record.
    pub fn observe_unrecorded(&self, unrecorded: &Unrecorded<'_>) {
        let (values, count) = (Values::of_unrecorded(unrecorded), unrecorded.denial.count);
        if self.store().count_unrecorded(&values, count, Instant::now()) == Counted::AmongTheRest {
            self.series_dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Removes the series of pods that have been gone for long enough. `presence` tells of one, by namespace
    /// and name.
    pub fn sweep(&self, now: Instant, presence: impl Fn(&str, &str) -> Presence) {
        self.store().sweep(now, presence);
    }

    /// The metrics as text of exposition format 0.0.4.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        self.ledger.before_scrape();
        let mut families = self.event_families();
        families.extend(self.latency.collect());
        families.extend(agent::families(&self.ledger));
        families.push(agent::kube_events(self.kube_events.get().map(Arc::as_ref)));
        if let Some(node) = self.node.get() {
            families.extend(node::families(node));
        }
        families.extend(pods::families(self.ledger.pods()));
        families.extend(process::families());
        if let Some((history, live)) = self.shown.get() {
            families.extend(history::families(history, live));
        }
        // The encoder takes a family without series for a mistake.
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new().encode_to_string(&families)
    }

    /// The metrics of events alone, without those of the agent.
    pub fn encode_events(&self) -> Result<String, prometheus::Error> {
        let mut families = self.event_families();
        families.retain(|family| !family.get_metric().is_empty() && family.name().starts_with("apparmor_"));
        TextEncoder::new().encode_to_string(&families)
    }

    fn event_families(&self) -> Vec<MetricFamily> {
        let ((event_labels, events), (latest_labels, latest), (silent_labels, silent)) = {
            let store = self.store();
            (store.events(), store.latest(), store.silent())
        };
        let series = events.len() + latest.len() + silent.len();
        vec![
            rows(names::EVENTS, MetricType::COUNTER, &event_labels, events, |tally| tally.count() as f64),
            rows(names::LAST_EVENT, MetricType::GAUGE, &latest_labels, latest, series::Latest::seconds),
            rows(names::SILENT_DENIALS, MetricType::COUNTER, &silent_labels, silent, |count| {
                count.load(Ordering::Relaxed) as f64
            }),
            counters(
                names::NODE_EVENTS,
                Verdict::ALL.into_iter().flat_map(|verdict| {
                    Class::ALL.into_iter().map(move |class| {
                        let labels = vec![("verdict", verdict.as_str()), ("class", class.as_str())];
                        (labels, self.node_event(verdict, class).load(Ordering::Relaxed) as f64)
                    })
                }),
            ),
            gauges(names::SERIES, [(vec![], series as f64)]),
            gauges(names::SERIES_LIMIT, [(vec![], self.series_limit as f64)]),
            counters(names::SERIES_DROPPED, [(vec![], self.series_dropped.load(Ordering::Relaxed) as f64)]),
        ]
    }

    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant of both")]
    fn node_event(&self, verdict: Verdict, class: Class) -> &AtomicU64 {
        &self.node_events[verdict as usize][class as usize]
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nanoseconds since the epoch.
fn since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// A family from series, in an order that does not change from scrape to scrape.
fn rows<T>(
    name: Name,
    kind: MetricType,
    labels: &[Label],
    mut series: Vec<Arc<Series<T>>>,
    value: impl Fn(&T) -> f64,
) -> MetricFamily {
    series.sort_unstable_by(|a, b| a.values.cmp(&b.values));
    let metrics = series.iter().map(|series| {
        let pairs = labels.iter().zip(&series.values).map(|(label, value)| (label.as_str(), &**value));
        metric(kind, pairs, value(&series.number))
    });
    family(name, kind, metrics.collect())
}

/// A row of a family: its labels and its value.
type Row<'a> = (Vec<(&'a str, &'a str)>, f64);

fn counters<'a>(name: Name, rows: impl IntoIterator<Item = Row<'a>>) -> MetricFamily {
    let kind = MetricType::COUNTER;
    family(name, kind, rows.into_iter().map(|(labels, value)| metric(kind, labels, value)).collect())
}

fn gauges<'a>(name: Name, rows: impl IntoIterator<Item = Row<'a>>) -> MetricFamily {
    let kind = MetricType::GAUGE;
    family(name, kind, rows.into_iter().map(|(labels, value)| metric(kind, labels, value)).collect())
}

fn metric<'a>(kind: MetricType, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) -> Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    let mut metric = Metric::from_label(pairs.collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn family(name: Name, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.name.to_owned());
    family.set_help(name.help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests;
