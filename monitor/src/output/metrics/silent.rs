//! `apparmor_silent_denials_total`: what was refused without a record.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;

use super::{counters, labels, names};
use crate::capture::SilentDenial;

/// The labels of a denial that tell whose it was: namespace, workload, pod, container. The one place where
/// its cgroup becomes a workload; until it is looked up, all are empty.
fn whose(_denial: &SilentDenial) -> [String; 4] {
    Default::default()
}

/// The family: tallies that have all labels in common are added up. There are at most as many as entries in
/// the kernel's map.
///
/// `reason` is a label because the answers differ: a quiet rule is the author's wish, a quiet kernel is not.
pub(super) fn family(denials: &[SilentDenial]) -> MetricFamily {
    let mut sums: BTreeMap<[String; 7], u64> = BTreeMap::new();
    for denial in denials {
        let namespace = Some(&denial.namespace[..]).filter(|namespace| !namespace.is_empty());
        let profile = labels::profile(&denial.profile, namespace).into_owned();
        let [namespace, workload, pod, container] = whose(denial);
        let class = denial.class.as_str().to_owned();
        let reason = denial.reason.as_str().to_owned();
        *sums.entry([class, profile, namespace, workload, pod, container, reason]).or_default() +=
            denial.count;
    }
    const LABELS: [&str; 7] = ["class", "profile", "namespace", "workload", "pod", "container", "reason"];
    counters(
        names::SILENT_DENIALS,
        sums.iter().map(|(values, count)| {
            let values = values.iter().map(String::as_str);
            (LABELS.into_iter().zip(values).collect(), *count as f64)
        }),
    )
}
