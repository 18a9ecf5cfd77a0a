//! Dashboards: what Grafana needs to import them anywhere, and a reader to act on them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::catalogue::Catalogue;
use super::{place, promql};

/// A dashboard as Grafana reads it.
pub(crate) struct Dashboard {
    file: String,
    json: Value,
}

/// A panel that shows something.
struct Panel<'a> {
    /// File and title, for messages.
    name: String,
    json: &'a Value,
}

/// All of dashboards/.
pub(crate) fn all() -> Vec<Dashboard> {
    let read = |file: String| Dashboard { json: serde_json::from_str(&place::read(&file)).unwrap(), file };
    place::files("dashboards", ".json").into_iter().map(read).collect()
}

fn text<'a>(json: &'a Value, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json[key].as_array().map_or(&[], Vec::as_slice)
}

impl Dashboard {
    /// What links and alerts call it.
    pub(crate) fn uid(&self) -> String {
        text(&self.json, "uid").to_owned()
    }

    fn panels(&self) -> impl Iterator<Item = Panel<'_>> {
        let panels = list(&self.json, "panels").iter().filter(|panel| panel["type"] != "row");
        panels.map(|json| Panel { name: format!("{}: {}", self.file, text(json, "title")), json })
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"], "list")
    }

    /// An expression as Grafana would send it, with everything chosen.
    fn expanded(&self, expression: &str) -> String {
        let mut text = expression.replace("$__rate_interval", "5m").replace("$__range", "6h");
        for variable in self.variables() {
            let name = format!("${}", self::text(variable, "name"));
            let value = if variable["type"] == "custom" { "259200" } else { ".*" };
            text = text.replace(&name, value);
        }
        assert!(!text.contains('$'), "{}: {text} has a variable that is not defined", self.file);
        text
    }
}

#[test]
fn a_dashboard_can_be_imported_anywhere() {
    let dashboards = all();
    let uids: BTreeSet<_> = dashboards.iter().map(Dashboard::uid).collect();
    assert_eq!(uids.len(), dashboards.len(), "a uid is there twice");
    for dashboard in &dashboards {
        let (file, json) = (&dashboard.file, &dashboard.json);
        assert_eq!(file, &format!("dashboards/{}.json", dashboard.uid()));
        assert!(json["id"].is_null() && json.get("id").is_some(), "{file}: id is not null");
        assert!(json.get("__inputs").is_none(), "{file}: __inputs break provisioning");
        assert_eq!(json["schemaVersion"], 39, "{file}");
        assert!(text(json, "title").starts_with("AppArmor / "), "{file}");
        assert!(list(json, "tags").contains(&json!("apparmor")), "{file}: tags");
        let linked: BTreeSet<_> = list(json, "links")
            .iter()
            .map(|link| {
                assert!(link["keepTime"] == true && link["includeVars"] == true, "{file}: {link}");
                text(link, "url").trim_start_matches("/d/").to_owned()
            })
            .collect();
        let others: BTreeSet<_> = uids.iter().filter(|uid| **uid != dashboard.uid()).cloned().collect();
        assert_eq!(linked, others, "{file}: links to the others");
        let datasource = &dashboard.variables()[0];
        assert!(datasource["type"] == "datasource" && datasource["query"] == "prometheus", "{file}");
    }
}

#[test]
fn a_variable_chooses_within_those_before_it() {
    let catalogue = Catalogue::of_the_agent();
    for dashboard in all() {
        let mut before = BTreeSet::new();
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
            let name = text(variable, "name");
            let query = text(&variable["query"], "query");
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect(query);
            let used: BTreeSet<_> = selector.split('$').skip(1).map(word).collect();
            assert!(used.is_subset(&before), "{}: {name} uses {used:?} of {before:?}", dashboard.file);
            let labels = promql::labels(&dashboard.expanded(selector), &catalogue).unwrap();
            assert!(labels.contains(label), "{}: {name}: {query}", dashboard.file);
            assert!(
                variable["includeAll"] == true && variable["allValue"] == ".*",
                "{}: {name}",
                dashboard.file
            );
            assert_eq!(variable["datasource"], datasource(), "{}: {name}", dashboard.file);
            before.insert(word(name));
        }
        assert!(!before.is_empty(), "{}", dashboard.file);
    }
}

/// The letters and underscores that a text begins with.
fn word(text: &str) -> &str {
    text.split(|c: char| !(c.is_ascii_alphabetic() || c == '_')).next().unwrap_or_default()
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Units that Grafana knows, as far as they are used here.
const UNITS: [&str; 7] = ["bytes", "cps", "dateTimeFromNow", "none", "percentunit", "s", "short"];
/// Types of panels that every Grafana has.
const TYPES: [&str; 6] = ["bargauge", "heatmap", "stat", "state-timeline", "table", "timeseries"];

#[test]
fn a_panel_says_what_it_shows_in_which_unit_and_what_to_do() {
    for dashboard in all() {
        let mut ids = BTreeSet::new();
        for panel in dashboard.panels() {
            let Panel { name, json } = &panel;
            assert!(ids.insert(json["id"].as_u64().unwrap()), "{name}: its id is there twice");
            assert!(TYPES.contains(&text(json, "type")), "{name}: {}", json["type"]);
            let description = text(json, "description");
            assert!(description.len() > 40 && description.ends_with('.'), "{name}: {description:?}");
            let unit = text(&json["fieldConfig"]["defaults"], "unit");
            assert!(UNITS.contains(&unit), "{name}: unit {unit:?}");
            assert_eq!(json["datasource"], datasource(), "{name}");
            assert!(!list(json, "targets").is_empty(), "{name}: no expression");
            for target in list(json, "targets") {
                assert_eq!(target["datasource"], datasource(), "{name}");
                let instant = target["instant"] == true;
                assert_ne!(instant, target["range"] == true, "{name}: instant or range");
            }
        }
    }
}

#[test]
fn panels_lie_beside_each_other() {
    for dashboard in all() {
        let mut cells = BTreeSet::new();
        for panel in list(&dashboard.json, "panels") {
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{}: {} is too wide", dashboard.file, panel["title"]);
            for (x, y) in
                (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
            {
                assert!(cells.insert((x, y)), "{}: {} lies on another", dashboard.file, panel["title"]);
            }
        }
    }
}

#[test]
fn expressions_and_what_names_their_labels_are_right() {
    let catalogue = Catalogue::with_rules();
    let mut seen = 0;
    for dashboard in all() {
        for Panel { name, json } in dashboard.panels() {
            for target in list(json, "targets") {
                seen += 1;
                let expression = dashboard.expanded(text(target, "expr"));
                let labels =
                    promql::labels(&expression, &catalogue).unwrap_or_else(|why| panic!("{name}: {why}"));
                for label in text(target, "legendFormat").split("{{").skip(1) {
                    let label = label.split("}}").next().unwrap().trim();
                    assert!(labels.contains(label), "{name}: its legend has {label}, its result {labels:?}");
                }
                // A table's columns are labels.
                for column in list(&json["fieldConfig"], "overrides") {
                    let column = text(&column["matcher"], "options");
                    assert!(column == "Value" || labels.contains(column), "{name}: no column {column}");
                }
            }
        }
    }
    assert!(seen > 50, "{seen} expressions");
}

#[test]
fn counters_are_rated_by_the_interval_that_the_scrape_allows() {
    for dashboard in all() {
        for Panel { name, json } in dashboard.panels() {
            for target in list(json, "targets").iter().filter(|target| target["range"] == true) {
                let expression = text(target, "expr");
                let windows = expression.matches('[').count();
                assert_eq!(windows, expression.matches("[$__rate_interval]").count(), "{name}: {expression}");
            }
        }
    }
}
