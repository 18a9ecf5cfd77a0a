//! The reference: for each metric its type, its labels and what bounds their number.
//!
//! docs/metrics.md is generated from it, and dashboards, rules and documents are held against it: see
//! `monitor/tests/sre`. A metric that is served and not in this table fails a test, and so does one whose
//! type or labels differ.

use super::names::{self, Name};

/// A metric's type, in the words of the exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at 0 with the agent.
    Counter,
    /// The present value.
    Gauge,
    /// Counts by upper bound, with `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// As a `# TYPE` line has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What there is to know of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// How many series a node can have of it at most, and why no more.
    pub bound: &'static str,
}

const fn metric(name: Name, kind: Kind, labels: &'static [&'static str], bound: &'static str) -> Metric {
    Metric { name: name.name, help: name.help, kind, labels, bound }
}

use Kind::{Counter, Gauge, Histogram};

/// Every metric that the agent can serve, in the order in which the reference has them.
pub const METRICS: &[Metric] = &[
    metric(
        names::EVENTS,
        Counter,
        &["verdict", "class", "operation", "profile", "namespace", "workload", "pod", "container"],
        LIMIT,
    ),
    metric(names::NODE_EVENTS, Counter, &["verdict", "class"], "119: 7 verdicts by 17 classes"),
    metric(
        names::LAST_EVENT,
        Gauge,
        &["verdict", "profile", "namespace", "workload", "pod", "container"],
        LIMIT,
    ),
    metric(
        names::SILENT_DENIALS,
        Counter,
        &["class", "profile", "namespace", "workload", "pod", "container", "reason"],
        "`series-limit`, shared by the metrics of events; 0 unless `silent-denials` is on",
    ),
    metric(names::LAST_NEW_VIOLATION, Gauge, &["profile"], "one for each profile that was violated"),
    metric(names::DISTINCT_VIOLATIONS, Gauge, &["profile"], "one for each profile that was violated"),
    metric(names::ENABLED, Gauge, &[], "1"),
    metric(names::PARAMETER, Gauge, &["parameter", "value"], "4: one for each parameter"),
    metric(names::PROFILES, Gauge, &["mode"], "one for each mode"),
    metric(names::PROFILE_INFO, Gauge, &["profile", "mode"], "1,000"),
    metric(names::FEATURES, Gauge, &["abi", "classes"], "1"),
    metric(names::POLICY_CHANGES, Counter, &["operation"], "3: one for each operation"),
    metric(
        names::CONFINEMENT_INFO,
        Gauge,
        &["namespace", "pod", "container", "requested", "profile", "mode"],
        CONTAINERS,
    ),
    metric(names::MISMATCH, Gauge, &["namespace", "pod", "container", "profile"], CONTAINERS),
    metric(names::MISSING, Gauge, &["namespace", "pod", "container", "profile"], CONTAINERS),
    metric(names::INVALID, Gauge, &["namespace", "pod", "container", "profile"], CONTAINERS),
    metric(names::NOT_ALLOWED, Gauge, &["namespace", "pod", "container", "profile"], CONTAINERS),
    metric(names::LEFT_OUT, Gauge, &["what"], "2: profiles and containers"),
    metric(names::SOURCE_UP, Gauge, &["source"], SOURCES),
    metric(names::RECOVERED, Counter, &[], "1"),
    metric(names::AUDIT_READABLE, Gauge, &[], "1"),
    metric(names::AUDIT_BACKLOG, Gauge, &[], "1"),
    metric(names::AUDIT_BACKLOG_LIMIT, Gauge, &[], "1"),
    metric(names::STATE_FAILED, Counter, &["what"], "3: lock, journal and checkpoint"),
    metric(names::HOOK_ATTACHED, Gauge, &["function", "how"], "one for each hooked function: a fixed list"),
    metric(names::RECEIVED, Counter, &["source"], SOURCES),
    metric(names::SEEN, Counter, &["source"], "1: eBPF"),
    metric(
        names::LOST,
        Counter,
        &["source", "stage", "reason"],
        "one for each place that can lose: a fixed list",
    ),
    metric(names::LATENCY, Histogram, &["source"], SOURCES),
    metric(names::RESOLUTIONS, Counter, &["how"], "one for each way: a fixed list"),
    metric(names::UNATTRIBUTED, Counter, &["reason"], "one for each reason: a fixed list"),
    metric(names::PODS, Gauge, &[], "1"),
    metric(names::PODS_REFUSED, Counter, &[], "1"),
    metric(names::POD_SOURCE_UP, Gauge, &["source"], "2: the API server and the kubelet"),
    metric(names::POD_SOURCE_FAILURES, Counter, &["source"], "2: the API server and the kubelet"),
    metric(names::NAME_WAITS, Counter, &["result"], "one for each result: a fixed list"),
    metric(names::KUBE_EVENTS, Counter, &["result"], "one for each result: a fixed list"),
    metric(names::SERIES, Gauge, &[], "1"),
    metric(names::SERIES_LIMIT, Gauge, &[], "1"),
    metric(names::SERIES_DROPPED, Counter, &[], "1"),
    metric(names::OWN_EVENTS, Counter, &[], "1"),
    metric(names::CGROUPS, Gauge, &["state"], "2: live and gone"),
    metric(names::CGROUPS_EVICTED, Counter, &["reason"], "one for each reason: a fixed list"),
    metric(names::CGROUPS_MISSED, Counter, &[], "1"),
    metric(names::TARGETS_MISSED, Counter, &[], "1"),
    metric(names::CGROUP_WALKS, Counter, &[], "1"),
    metric(names::HISTORY_KINDS, Gauge, &[], "1"),
    metric(names::HISTORY_DROPPED, Counter, &[], "1"),
    metric(names::HISTORY_FAILED, Counter, &[], "1"),
    metric(names::LIVE_REFUSED, Counter, &[], "1"),
    metric(names::LIVE_LOST, Counter, &[], "1"),
    metric(names::BUILD_INFO, Gauge, &["version", "arch", "ebpf"], "1"),
    metric(names::CPU, Counter, &[], "1"),
    metric(names::OPEN_FDS, Gauge, &[], "1"),
    metric(names::MAX_FDS, Gauge, &[], "1"),
    metric(names::VIRTUAL_MEMORY, Gauge, &[], "1"),
    metric(names::RESIDENT_MEMORY, Gauge, &[], "1"),
    metric(names::THREADS, Gauge, &[], "1"),
    metric(names::START_TIME, Gauge, &[], "1"),
];

const LIMIT: &str = "`series-limit`, shared by the metrics of events";
const CONTAINERS: &str = "2,000: one for each container";
const SOURCES: &str = "2: one for each source";
