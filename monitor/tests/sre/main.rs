//! What an SRE imports, held against the metrics that the agent serves: the reference in docs/metrics.md,
//! dashboards, rules and every document that spells a metric.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of it is tests, also what no #[test] stands on"
)]

mod catalogue;
mod dashboards;
mod documents;
mod place;
mod promql;
mod reference;
mod rules;
