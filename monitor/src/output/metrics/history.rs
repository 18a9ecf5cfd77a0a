//! What the history and the live socket count.

use prometheus::proto::MetricFamily;

use super::{counters, gauges, names};
use crate::output::history::History;
use crate::output::live::Live;

pub(super) fn families(history: &History, live: &Live) -> Vec<MetricFamily> {
    let profiles = history.profiles();
    let seconds = |nanos: u64| (nanos / 1_000_000) as f64 / 1_000.0;
    vec![
        gauges(
            names::LAST_NEW,
            profiles.iter().map(|(name, book)| (vec![("profile", name.as_str())], seconds(book.last_new))),
        ),
        gauges(
            names::DISTINCT,
            profiles.iter().map(|(name, book)| (vec![("profile", name.as_str())], book.distinct as f64)),
        ),
        gauges(names::HISTORY_KINDS, [(vec![], history.len() as f64)]),
        counters(names::HISTORY_DROPPED, [(vec![], history.dropped_total() as f64)]),
        counters(names::HISTORY_FAILED, [(vec![], history.failed_total() as f64)]),
        counters(names::LIVE_REFUSED, [(vec![], live.refused_total() as f64)]),
        counters(names::LIVE_LOST, [(vec![], live.lost_total() as f64)]),
    ]
}
