//! Every expression that a dashboard or a recording rule asks Prometheus, as Grafana would send it; and which of
//! them may have no data here, with the reason.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::servers::Servers;
use crate::observe;

/// How an expression is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For now alone, as stats and tables do.
    Instant,
    /// Over a time, as graphs do.
    Range,
}

/// An expression, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) place: String,
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// What may have no data in this scenario, by a fragment of its expression: one node without Kubernetes whose
/// violations have no pod.
pub(super) const EXCUSED: &[(&str, &str)] = &[
    ("apparmor_container_confinement_info", "no containers"),
    ("apparmor_container_profile_mismatch", "no containers"),
    ("apparmor_pod_profile_missing", "no pods"),
    ("apparmor_profile_info{node=~\".*\"}) < scalar(", "one node has what every node has"),
];

impl Expression {
    /// Why it may have no data.
    pub(super) fn excuse(&self) -> Option<&'static str> {
        EXCUSED.iter().find(|(fragment, _)| self.text.contains(fragment)).map(|(_, why)| *why)
    }
}

/// All expressions of all panels, and the names of all recorded rules.
pub(super) fn all(servers: &Servers) -> Result<Vec<Expression>> {
    let mut expressions = Vec::new();
    for path in observe::files("", ".json")? {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        expressions.extend(of_dashboard(&dashboard)?);
    }
    for name in servers.rules_are_well()? {
        expressions.push(Expression { place: "recorded".into(), text: name, kind: Kind::Instant });
    }
    Ok(expressions)
}

/// With what a target's variables are filled; the dashboard's own stand for all there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) interval: &'static str,
    pub(super) range: &'static str,
    /// Seconds without a new violation after which a profile is ready.
    pub(super) quiet: &'static str,
}

/// Quiet for a second is enough here.
const ASK: Ask = Ask { interval: "30s", range: "1h", quiet: "1" };

/// A target's expression as Grafana would send it.
pub(super) fn filled(dashboard: &Value, target: &Value, ask: Ask) -> Result<String> {
    let text = target["expr"].as_str().context("a target without an expression")?;
    let mut text = text.replace("$__rate_interval", ask.interval).replace("$__range", ask.range);
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().context("a variable without a name")?;
        let all = if variable["type"] == "custom" { ask.quiet } else { ".*" };
        text = text.replace(&format!("${name}"), all);
    }
    ensure!(!text.contains('$'), "{text} has an unknown variable");
    Ok(text)
}

fn of_dashboard(dashboard: &Value) -> Result<Vec<Expression>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut expressions = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let place =
            [&dashboard["title"], &panel["title"]].map(|title| title.as_str().unwrap_or("")).join(": ");
        for target in list(&panel["targets"]) {
            let text = filled(dashboard, &target, ASK).context(place.clone())?;
            let kind = if target["instant"] == true { Kind::Instant } else { Kind::Range };
            expressions.push(Expression { place: place.clone(), text, kind });
        }
    }
    Ok(expressions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Kind, of_dashboard};

    #[test]
    fn expressions_are_as_grafana_sends_them() {
        let dashboard = json!({
            "title": "D",
            "templating": { "list": [
                { "name": "datasource", "type": "datasource" },
                { "name": "node", "type": "query" },
                { "name": "quiet", "type": "custom" },
            ] },
            "panels": [
                { "type": "row", "title": "R" },
                { "title": "P", "targets": [
                    { "expr": "rate(x{node=~\"$node\"}[$__rate_interval]) > $quiet", "instant": false },
                    { "expr": "x[$__range]", "instant": true },
                ] },
            ],
        });
        let got = of_dashboard(&dashboard).unwrap();
        let got: Vec<_> = got.iter().map(|e| (e.place.as_str(), e.text.as_str(), e.kind)).collect();
        let want =
            [("D: P", "rate(x{node=~\".*\"}[30s]) > 1", Kind::Range), ("D: P", "x[1h]", Kind::Instant)];
        assert_eq!(got, want);
        let unknown = json!({ "title": "D", "panels": [{ "title": "P", "targets": [{ "expr": "$no" }] }] });
        assert!(of_dashboard(&unknown).is_err());
    }
}
