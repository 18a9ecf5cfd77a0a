//! Every metric that an expression may name, and the labels it has when Prometheus has scraped it.

use std::collections::{BTreeMap, BTreeSet};

use aa_monitor::output::metrics::reference::{Kind, METRICS};

use super::promql;
use super::rules;

/// Names of labels.
pub(crate) type Labels = BTreeSet<String>;

/// What Prometheus adds to every sample of a target; `node` by the relabelling that docs/metrics.md asks for.
const TARGET: [&str; 3] = ["instance", "job", "node"];

/// Metrics by name, with their labels.
pub(crate) struct Catalogue(BTreeMap<String, Labels>);

impl Catalogue {
    /// What the agent serves and what Prometheus itself knows of a target.
    pub(crate) fn of_the_agent() -> Self {
        let mut metrics = BTreeMap::new();
        let mut add = |name: String, labels: &[&str]| {
            metrics.insert(name, labels.iter().chain(&TARGET).map(|&label| label.to_owned()).collect());
        };
        add("up".into(), &[]);
        for metric in METRICS {
            if metric.kind == Kind::Histogram {
                add(format!("{}_bucket", metric.name), &[metric.labels, &["le"]].concat());
                add(format!("{}_sum", metric.name), metric.labels);
                add(format!("{}_count", metric.name), metric.labels);
            } else {
                add(metric.name.into(), metric.labels);
            }
        }
        Self(metrics)
    }

    /// The same, with what the recording rules make of it.
    pub(crate) fn with_rules() -> Self {
        let mut catalogue = Self::of_the_agent();
        for rule in rules::all().into_iter().filter(|rule| rule.record.is_some()) {
            let name = rule.record.unwrap();
            let labels = promql::labels(&rule.expr, &catalogue);
            let labels = labels.unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(catalogue.0.insert(name.clone(), labels).is_none(), "{name} is recorded twice");
        }
        catalogue
    }

    /// The labels of a metric.
    pub(crate) fn labels(&self, name: &str) -> Option<&Labels> {
        self.0.get(name)
    }
}
