//! What the agent tells of itself and of the node: sources, hooks, losses, AppArmor's state.

use prometheus::proto::MetricFamily;

use super::{counters, gauges, names};
use crate::capture::Source;
use crate::identity::counts::Evicted;
use crate::identity::{How, Unknown};
use crate::ledger::{Attached, AuditStatus, Ledger, Loss, StateFailure};
use crate::node;
use crate::output::kube_events::{KubeEvents, Tally};

/// The ledger's books; call [`Ledger::before_scrape`] before.
pub(super) fn families(ledger: &Ledger) -> Vec<MetricFamily> {
    let hooks = ledger.hooks();
    let parameters = node::parameters();
    let identity = ledger.identity();
    let audit = ledger.audit_status();
    let [live, gone] = identity.known();
    let up = |source| f64::from(u8::from(ledger.source_state(source).is_ok()));
    vec![
        gauges(names::ENABLED, [(vec![], f64::from(u8::from(node::apparmor_enabled())))]),
        gauges(
            names::PARAMETER,
            parameters
                .iter()
                .map(|(parameter, value)| (vec![("parameter", *parameter), ("value", value.as_str())], 1.0)),
        ),
        gauges(names::SOURCE_UP, Source::ALL.map(|source| (vec![("source", source.as_str())], up(source)))),
        counters(
            names::RECEIVED,
            Source::ALL
                .map(|source| (vec![("source", source.as_str())], ledger.received_total(source) as f64)),
        ),
        counters(names::SEEN, [(vec![("source", Source::Ebpf.as_str())], ledger.seen_total() as f64)]),
        counters(
            names::LOST,
            Loss::ALL.map(|loss| {
                let (source, stage, reason) = loss.labels();
                let labels = vec![("source", source.as_str()), ("stage", stage), ("reason", reason)];
                (labels, ledger.lost_total(loss) as f64)
            }),
        ),
        counters(names::RECOVERED, [(vec![], ledger.recovered_total() as f64)]),
        gauges(names::AUDIT_READABLE, [(vec![], f64::from(u8::from(audit.is_some())))]),
        gauges(names::AUDIT_BACKLOG, audit.map(|AuditStatus { backlog, .. }| (vec![], f64::from(backlog)))),
        gauges(
            names::AUDIT_BACKLOG_LIMIT,
            audit.map(|AuditStatus { backlog_limit, .. }| (vec![], f64::from(backlog_limit))),
        ),
        counters(
            names::STATE_FAILED,
            StateFailure::ALL.map(|what| (vec![("what", what.as_str())], ledger.state_failures(what) as f64)),
        ),
        gauges(
            names::HOOK_ATTACHED,
            hooks.iter().map(|hook| {
                let labels = vec![("function", hook.function), ("how", hook.attached.as_str())];
                (labels, if hook.attached == Attached::No { 0.0 } else { 1.0 })
            }),
        ),
        counters(
            names::RESOLUTIONS,
            How::KINDS.map(|how| (vec![("how", how.as_str())], identity.found(how) as f64)),
        ),
        counters(
            names::UNATTRIBUTED,
            Unknown::ALL.map(|why| (vec![("reason", why.as_str())], identity.not_found(why) as f64)),
        ),
        counters(names::OWN_EVENTS, [(vec![], identity.own() as f64)]),
        gauges(
            names::CGROUPS,
            [(vec![("state", "live")], live as f64), (vec![("state", "gone")], gone as f64)],
        ),
        counters(
            names::CGROUPS_EVICTED,
            Evicted::ALL.map(|why| (vec![("reason", why.as_str())], identity.evicted(why) as f64)),
        ),
        counters(names::CGROUPS_MISSED, [(vec![], identity.missed_total() as f64)]),
        counters(names::TARGETS_MISSED, [(vec![], identity.targets_missed() as f64)]),
        counters(names::CGROUP_WALKS, [(vec![], identity.walks() as f64)]),
        gauges(
            names::BUILD_INFO,
            [(
                vec![
                    ("version", env!("CARGO_PKG_VERSION")),
                    ("arch", std::env::consts::ARCH),
                    ("ebpf", if cfg!(feature = "ebpf") { "built-in" } else { "left-out" }),
                ],
                1.0,
            )],
        ),
    ]
}

/// What became of Kubernetes Events; of none while there are none.
pub(super) fn kube_events(events: Option<&KubeEvents>) -> MetricFamily {
    let Tally { created, counted, suppressed, refused } = events.map(KubeEvents::tally).unwrap_or_default();
    let results =
        [("created", created), ("counted", counted), ("suppressed", suppressed), ("refused", refused)];
    counters(names::KUBE_EVENTS, results.map(|(result, count)| (vec![("result", result)], count as f64)))
}
