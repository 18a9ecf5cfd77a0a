//! Which labels the event metrics have, where there is a choice.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A label that can be left out. `verdict` and `class` cannot: without them a count says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricLabel {
    /// The kernel's word for what was done.
    Operation,
    /// The profile that decided.
    Profile,
    /// The Kubernetes namespace.
    Namespace,
    /// What owns the pod.
    Workload,
    /// The pod.
    Pod,
    /// The container.
    Container,
}

impl MetricLabel {
    const ALL: [Self; 6] =
        [Self::Operation, Self::Profile, Self::Namespace, Self::Workload, Self::Pod, Self::Container];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Profile => "profile",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Pod => "pod",
            Self::Container => "container",
        }
    }
}

/// A choice of labels: `operation,profile,namespace`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricLabels(Vec<MetricLabel>);

impl MetricLabels {
    /// Whether `label` is among them.
    pub fn has(&self, label: MetricLabel) -> bool {
        self.0.contains(&label)
    }
}

impl Default for MetricLabels {
    /// All of them.
    fn default() -> Self {
        Self(MetricLabel::ALL.to_vec())
    }
}

impl FromStr for MetricLabels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || MetricLabel::ALL.map(MetricLabel::as_str).join(", ");
        let words = text.split(',').map(str::trim).filter(|word| *word != "none" || text.trim() != "none");
        let labels = words.map(|word| {
            MetricLabel::ALL
                .into_iter()
                .find(|label| label.as_str() == word)
                .ok_or_else(|| format!("{word:?} is not one of {} (or none, alone)", known()))
        });
        labels.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for MetricLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&self.0.iter().map(|label| label.as_str()).collect::<Vec<_>>().join(","))
    }
}

impl Serialize for MetricLabels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for (text, want) in [
            ("none", "none"),
            ("profile", "profile"),
            ("pod, profile", "pod,profile"),
            (
                "operation,profile,namespace,workload,pod,container",
                "operation,profile,namespace,workload,pod,container",
            ),
        ] {
            assert_eq!(text.parse::<MetricLabels>().map(|labels| labels.to_string()), Ok(want.to_owned()));
        }
        assert_eq!(MetricLabels::default().to_string().parse(), Ok(MetricLabels::default()));
    }

    #[test]
    fn what_is_no_label_is_told() {
        for text in ["", "pods", "pod,", "verdict", "none,pod"] {
            let error = text.parse::<MetricLabels>().expect_err(text);
            assert!(error.contains("is not one of operation, profile,"), "{error}");
        }
    }
}
