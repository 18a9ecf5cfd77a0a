//! Rules: each says what a person needs at night, and each has the tests that promtool then runs.

use std::collections::BTreeMap;

use aa_monitor::ledger::Loss;
use serde::Deserialize;

use super::catalogue::Catalogue;
use super::{place, promql};

/// A recording or an alerting rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) record: Option<String>,
    pub(crate) alert: Option<String>,
    pub(crate) expr: String,
    #[serde(rename = "for")]
    #[expect(dead_code, reason = "promtool reads it")]
    wait: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

/// All rules of dashboards/rules.
pub(crate) fn all() -> Vec<Rule> {
    let files = place::files("dashboards/rules", ".yaml");
    let groups = files.iter().flat_map(|file| {
        let file: File =
            serde_saphyr::from_str(&place::read(file)).unwrap_or_else(|why| panic!("{file}: {why}"));
        file.groups
    });
    groups.flat_map(|group| group.rules).collect()
}

fn alerts() -> Vec<(String, Rule)> {
    all().into_iter().filter_map(|rule| Some((rule.alert.clone()?, rule))).collect()
}

/// The labels that a text's templates mention: `{{ $labels.pod }}`.
fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    text.split("$labels.").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        &rest[..end.unwrap_or(rest.len())]
    })
}

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
const RUNBOOKS: &str = "https://aa-monitor.example/docs/runbooks.md#";
const DASHBOARDS: &str = "https://grafana.example/d/";

#[test]
fn expressions_name_what_exists() {
    let catalogue = Catalogue::with_rules();
    for rule in all() {
        let name = rule.record.as_ref().or(rule.alert.as_ref()).unwrap();
        let labels = promql::labels(&rule.expr, &catalogue).unwrap_or_else(|why| panic!("{name}: {why}"));
        for (key, text) in &rule.annotations {
            for label in mentioned(text) {
                assert!(labels.contains(label), "{name}: {key} mentions {label}, which is not in {labels:?}");
            }
        }
    }
}

#[test]
fn alerts_say_what_a_person_needs() {
    let runbooks = place::read("docs/runbooks.md");
    let dashboards: Vec<_> = super::dashboards::all().into_iter().map(|dashboard| dashboard.uid()).collect();
    for (name, rule) in alerts() {
        let annotation = |key: &str| {
            rule.annotations.get(key).unwrap_or_else(|| panic!("{name}: it has no {key}")).as_str()
        };
        assert!(name.starts_with("AppArmor"), "{name}");
        let severity = rule.labels.get("severity").map_or("", String::as_str);
        assert!(SEVERITIES.contains(&severity), "{name}: severity {severity:?}");
        assert!(annotation("summary").ends_with('.'), "{name}: its summary is no sentence");
        assert!(annotation("description").contains("{{ "), "{name}: its description has no template");
        let anchor = annotation("runbook_url").strip_prefix(RUNBOOKS).expect("one pattern");
        assert_eq!(anchor, name.to_lowercase(), "{name}: its runbook");
        assert!(runbooks.contains(&format!("\n## {name}\n")), "{name}: no section in docs/runbooks.md");
        let uid = annotation("dashboard_url").strip_prefix(DASHBOARDS).expect("one pattern");
        let uid = uid.split(['?', '/']).next().unwrap();
        assert!(dashboards.iter().any(|known| known == uid), "{name}: no dashboard {uid}");
    }
}

#[test]
fn runbooks_are_about_alerts_that_exist() {
    let names: Vec<_> = alerts().into_iter().map(|(name, _)| name).collect();
    let runbooks = place::read("docs/runbooks.md");
    for section in runbooks.lines().filter_map(|line| line.strip_prefix("## AppArmor")) {
        let section = format!("AppArmor{section}");
        assert!(names.contains(&section), "{section}: no such alert");
    }
    for (name, rest) in runbooks.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')) {
        if !name.starts_with("AppArmor") {
            continue;
        }
        for part in ["**Means**", "**Look**", "**Do**", "**Silence**"] {
            assert!(rest.contains(part), "{name}: no {part}");
        }
    }
}

#[test]
fn the_runbook_knows_each_place_that_loses() {
    let runbooks = place::read("docs/runbooks.md");
    let (_, section) = runbooks.split_once("## AppArmorMonitorLosingEvents").unwrap();
    let section = section.split("\n## ").next().unwrap();
    for loss in Loss::ALL {
        let (_, stage, reason) = loss.labels();
        assert!(section.contains(&format!("`{stage}` `{reason}`")), "{stage} {reason} is not in the runbook");
    }
}

/// What the tests of an alert must show, by their names.
const CASES: [&str; 5] = ["fires", "silent", "born at 1", "pod gone", "counter reset"];

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    name: String,
    #[serde(default)]
    alert_rule_test: Vec<Expectation>,
    #[serde(default)]
    promql_expr_test: Vec<Query>,
}

#[derive(Deserialize)]
struct Expectation {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Query {
    expr: String,
}

#[test]
fn each_alert_is_tested_to_fire_and_to_stay_silent_in_each_case() {
    let files = place::files("dashboards/tests", ".yaml");
    let tests: Vec<Test> = files
        .iter()
        .flat_map(|file| {
            let file: Tests =
                serde_saphyr::from_str(&place::read(file)).unwrap_or_else(|why| panic!("{file}: {why}"));
            file.tests
        })
        .collect();
    for (alert, _) in alerts() {
        for case in CASES {
            let name = format!("{alert}: {case}");
            let found: Vec<_> = tests.iter().filter(|test| test.name == name).collect();
            let whole = found.iter().flat_map(|test| &test.alert_rule_test);
            let whole: Vec<_> = whole.filter(|test| test.alertname == alert).collect();
            let counted = format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})");
            let counted = found
                .iter()
                .flat_map(|test| &test.promql_expr_test)
                .filter(|test| test.expr == counted)
                .count();
            assert!(whole.len() + counted > 0, "no test is called \"{name}\"");
            match case {
                // With every label and annotation, as a person gets it.
                "fires" => assert!(whole.iter().any(|test| !test.exp_alerts.is_empty()), "{name}"),
                "silent" => {
                    assert!(counted == 0 && whole.iter().all(|test| test.exp_alerts.is_empty()), "{name}");
                }
                _ => {}
            }
        }
    }
}
