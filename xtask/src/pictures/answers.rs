//! What Prometheus answered to the panels of the dashboards, as it is kept between asking and drawing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answers to all targets of all panels, and the time that they are about.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answers {
    /// Seconds since 1970: where the graphs begin and end.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Seconds between two points.
    pub(crate) step: u64,
    /// By the dashboard's uid: for each panel, for each target, Prometheus' `result`.
    pub(crate) dashboards: BTreeMap<String, Vec<Vec<Value>>>,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// Seconds and value; one for an instant.
    pub(super) points: Vec<(f64, f64)>,
}

impl Series {
    /// Reads a `result`.
    pub(super) fn all(result: &Value) -> Vec<Self> {
        result.as_array().into_iter().flatten().map(Self::one).collect()
    }

    fn one(value: &Value) -> Self {
        let labels = value["metric"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
        let points = match (&value["value"], value["values"].as_array()) {
            (_, Some(points)) => points.iter().filter_map(point).collect(),
            (value, None) => point(value).into_iter().collect(),
        };
        Self { labels, points }
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.points.last().map(|point| point.1)
    }

    /// Its name by Grafana's `legendFormat`.
    pub(super) fn name(&self, format: &str) -> String {
        if matches!(format, "" | "__auto") {
            return self.labels.values().cloned().collect::<Vec<_>>().join(" ");
        }
        let mut name = String::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once("{{") {
            let (label, after) = after.split_once("}}").unwrap_or((after, ""));
            name.push_str(before);
            name.push_str(self.labels.get(label.trim()).map_or("", String::as_str));
            rest = after;
        }
        name.push_str(rest);
        let name = name.trim();
        if name.is_empty() { "(none)".to_owned() } else { name.to_owned() }
    }
}

fn point(value: &Value) -> Option<(f64, f64)> {
    let number = value[1].as_str()?.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some((value[0].as_f64()?, number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Series;

    #[test]
    fn an_answer_is_read() {
        let result = json!([
            { "metric": { "class": "file" }, "values": [[10, "1"], [12, "NaN"], [14, "2.5"]] },
            { "metric": {}, "value": [14.5, "3"] },
        ]);
        let series = Series::all(&result);
        let points: Vec<_> = series.iter().map(|series| series.points.clone()).collect();
        assert_eq!(points, [vec![(10.0, 1.0), (14.0, 2.5)], vec![(14.5, 3.0)]]);
        let named: Vec<_> =
            ["{{class}} denied", "__auto", "{{no}}", "limit"].map(|format| series[0].name(format)).to_vec();
        assert_eq!(named, ["file denied", "file", "(none)", "limit"]);
    }
}
