//! What is told of the source of pods, and of the wait for names.

use prometheus::proto::MetricFamily;

use super::{counters, gauges, names};
use crate::identity::naming::Outcome;
use crate::identity::pods::{Pods, Source};

/// All rows exist, also where no pods are looked for: `pods` is none there.
pub(super) fn families(pods: Option<&Pods>) -> Vec<MetricFamily> {
    let of = |source| pods.filter(|pods| pods.source() == Some(source));
    let rows = |value: fn(&Pods) -> f64| {
        Source::ALL.map(|source| (vec![("source", source.as_str())], of(source).map_or(0.0, value)))
    };
    let one = |value: fn(&Pods) -> f64| [(vec![], pods.map_or(0.0, value))];
    vec![
        gauges(names::POD_SOURCE_UP, rows(|pods| f64::from(u8::from(pods.up())))),
        counters(names::POD_SOURCE_FAILURES, rows(|pods| pods.failures() as f64)),
        gauges(names::PODS, one(|pods| pods.present() as f64)),
        counters(names::PODS_REFUSED, one(|pods| pods.refused() as f64)),
        counters(
            names::NAME_WAITS,
            Outcome::ALL.map(|outcome| {
                let count = pods.map_or(0, |pods| pods.waits().count(outcome));
                (vec![("result", outcome.as_str())], count as f64)
            }),
        ),
    ]
}
