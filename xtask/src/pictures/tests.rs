//! What must hold for a picture of any dashboard, whatever the names in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answers, HEADING, picture, pictures};

/// Longer than any panel, and hostile to what reads it.
const NAME: &str = "</text><script>alert(1)</script>&\"'\u{1b}[31m0123456789012345678901234567890123456789012345678901234567890";

fn answers(dashboards: BTreeMap<String, Vec<Vec<Value>>>) -> Answers {
    Answers { from: 1_795_540_000, to: 1_795_540_240, step: 2, dashboards }
}

/// The same answer for each target of each panel.
fn same(dashboard: &Value, result: &Value) -> Answers {
    let targets = |panel: &Value| panel["targets"].as_array().map_or(0, Vec::len);
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let results = panels.map(|panel| vec![result.clone(); targets(panel)]).collect();
    answers([(dashboard["uid"].as_str().unwrap().to_owned(), results)].into())
}

fn dashboards() -> Vec<Value> {
    let files = crate::observe::files("", ".json").unwrap();
    files.iter().map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

fn hostile() -> Value {
    let labels = |number: usize| json!({ "node": NAME, "verdict": format!("{number}{NAME}"), "class": NAME });
    let series = (0..40).map(|number| {
        json!({
            "metric": labels(number),
            "values": (0..120).map(|point| json!([1_795_540_000 + 2 * point, "1e18"])).collect::<Vec<_>>(),
        })
    });
    Value::Array(series.collect())
}

#[test]
fn the_same_answers_make_the_same_picture() {
    for dashboard in dashboards() {
        let answers = same(&dashboard, &hostile());
        assert_eq!(picture(&dashboard, &answers).unwrap(), picture(&dashboard, &answers).unwrap());
    }
}

#[test]
fn nothing_leaves_its_panel_or_its_element() {
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    for dashboard in dashboards() {
        let drawn = picture(&dashboard, &same(&dashboard, &hostile())).unwrap();
        assert!(!drawn.contains("<script") && !drawn.contains('\u{1b}'));
        let panels: Vec<_> = drawn.lines().filter(|line| line.contains("stroke=\"#2c3235\"/>")).collect();
        assert!(panels.len() > 8, "{}", panels.len());
        let number = |line: &str, name: &str| attribute(line, name).parse::<f64>().unwrap();
        // Each text lies between two edges: those of the page, at least; of the panel that it starts in, at most.
        let mut frame = (0.0, super::WIDTH);
        for line in drawn.lines() {
            if line.starts_with("<rect") && line.contains("stroke=") {
                let x = number(line, "x");
                frame = (x, x + number(line, "width"));
            }
            if !line.starts_with("<text") || number(line, "y") < HEADING || line.contains(">▾") {
                continue;
            }
            let text = line.split_once('>').unwrap().1.trim_end_matches("</text>");
            let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
            let text = plain.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
            let bold = if line.contains("font-weight") { super::svg::BOLD } else { 1.0 };
            let wide = super::svg::width(&text, number(line, "font-size")) * bold;
            let x = number(line, "x");
            let (left, right) = match &*attribute(line, "text-anchor") {
                "start" => (x, x + wide),
                "end" => (x - wide, x),
                _ => (x - wide / 2.0, x + wide / 2.0),
            };
            assert!(left >= frame.0 - 0.5 && right <= frame.1 + 0.5, "{frame:?}: {left} {right}: {line}");
        }
    }
}

#[test]
fn a_panel_without_data_says_so() {
    for dashboard in dashboards() {
        let drawn = picture(&dashboard, &same(&dashboard, &json!([]))).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let with = panels.iter().filter(|panel| panel["type"] != "row").count();
        assert_eq!(drawn.matches(">No data<").count(), with);
    }
}

#[test]
fn answers_to_another_dashboard_are_an_error() {
    assert!(pictures(&answers(BTreeMap::new())).is_err());
}
