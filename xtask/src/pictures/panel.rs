//! One panel: its frame and title, and what kind of drawing is in it.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use serde_json::Value;

use super::answers::{Answers, Series};
use super::svg::{Anchor, Area, BOLD, FAINT, SERIES, Style, Svg, TEXT, colour, plain, width};
use super::{graph, table, units};

/// What a drawing needs to know.
#[derive(Debug)]
pub(super) struct Panel<'a> {
    pub(super) json: &'a Value,
    pub(super) answers: &'a Answers,
    /// Each series with the name that its target gives it.
    pub(super) series: Vec<(String, Series)>,
}

impl<'a> Panel<'a> {
    pub(super) fn new(json: &'a Value, results: &[Value], answers: &'a Answers) -> Self {
        let targets = json["targets"].as_array().into_iter().flatten();
        let series = targets.zip(results).flat_map(|(target, result)| {
            let format = target["legendFormat"].as_str().unwrap_or_default();
            Series::all(result).into_iter().map(|series| (series.name(format), series)).collect::<Vec<_>>()
        });
        let mut series: Vec<_> = series.filter(|(_, series)| !series.points.is_empty()).collect();
        // Prometheus promises no order for graphs; stats, tables and bars have the order that they asked for.
        if json["targets"][0]["instant"] != true {
            series.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Self { json, answers, series }
    }

    /// A value in the panel's unit.
    pub(super) fn value(&self, value: f64) -> String {
        let defaults = &self.json["fieldConfig"]["defaults"];
        units::text(
            value,
            defaults["unit"].as_str().unwrap_or("short"),
            defaults["decimals"].as_u64(),
            self.answers.to,
        )
    }

    /// The colour of the highest threshold that a value reaches.
    fn threshold(&self, value: f64) -> &str {
        let steps = self.json["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array();
        let mut reached =
            steps.into_iter().flatten().filter(|step| step["value"].as_f64().is_none_or(|at| at <= value));
        colour(reached.next_back().and_then(|step| step["color"].as_str()).unwrap_or("green"))
    }

    /// Draws it into its place.
    pub(super) fn draw(&self, svg: &mut Svg, place: Area) {
        let title = self.json["title"].as_str().unwrap_or_default();
        let heading = Style { bold: true, ..plain(title_size(title, place.w), TEXT, Anchor::Start) };
        if self.json["type"] == "row" {
            svg.text(
                (place.x + 2.0, place.y + place.h * 0.68),
                &format!("▾ {title}"),
                Style { size: 14.0, ..heading },
                place.w,
            );
            return;
        }
        svg.frame(place);
        svg.text((place.x + 10.0, place.y + 19.0), title, heading, place.w - 20.0);
        let inside = place.inset(10.0, 28.0, 10.0, 8.0);
        if self.series.is_empty() {
            let middle = (inside.x + inside.w / 2.0, inside.y + inside.h / 2.0);
            svg.text(middle, "No data", plain(13.0, FAINT, Anchor::Middle), inside.w);
            return;
        }
        match self.json["type"].as_str().unwrap_or_default() {
            "stat" => self.stat(svg, place, inside),
            "bargauge" => self.bars(svg, inside),
            "table" => table::draw(self, svg, inside),
            "heatmap" => graph::heatmap(self, svg, inside),
            "state-timeline" => graph::states(self, svg, inside),
            _ => graph::draw(self, svg, inside),
        }
    }

    fn stat(&self, svg: &mut Svg, place: Area, inside: Area) {
        let Some(value) = self.series.first().and_then(|(_, series)| series.last()) else { return };
        let (text, shade) = (self.value(value), self.threshold(value));
        let filled = self.json["options"]["colorMode"] == "background";
        if filled {
            svg.rectangle(place.inset(1.0, 1.0, 1.0, 1.0), shade, 3.0);
            let title = self.json["title"].as_str().unwrap_or_default();
            let heading = Style { bold: true, ..plain(title_size(title, place.w), "#ffffff", Anchor::Start) };
            svg.text((place.x + 10.0, place.y + 19.0), title, heading, place.w - 20.0);
        }
        let size = (inside.h * 0.5).min(40.0).min(inside.w / width(&text, BOLD));
        let fill = if filled { "#ffffff" } else { shade };
        let at = (inside.x + inside.w / 2.0, inside.y + inside.h / 2.0 + size * 0.36);
        svg.text(at, &text, Style { bold: true, ..plain(size, fill, Anchor::Middle) }, inside.w + 1.0);
    }

    fn bars(&self, svg: &mut Svg, inside: Area) {
        let most = self.series.iter().filter_map(|(_, series)| series.last()).fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a number of bars")]
        let each = (inside.h / self.series.len() as f64).min(34.0);
        let names = self.series.iter().map(|(name, _)| width(name, 11.0)).fold(0.0, f64::max);
        let names = (names + 10.0).min(inside.w * 0.4);
        let track = inside.inset(names, 0.0, 70.0, 0.0);
        for ((name, series), number) in self.series.iter().zip(0_u16..) {
            let value = series.last().unwrap_or(0.0);
            let top = inside.y + each * f64::from(number);
            let bar = Area { y: top + 3.0, h: each - 6.0, ..track };
            svg.text(
                (track.x - 8.0, top + each / 2.0 + 4.0),
                name,
                plain(11.0, TEXT, Anchor::End),
                names - 8.0,
            );
            svg.rectangle(bar, "#22252b", 2.0);
            let share = if most > 0.0 { value / most } else { 0.0 };
            svg.rectangle(Area { w: bar.w * share, ..bar }, self.threshold(value), 2.0);
            let at = (inside.x + inside.w, top + each / 2.0 + 4.0);
            svg.text(at, &self.value(value), plain(12.0, TEXT, Anchor::End), 64.0);
        }
    }
}

/// A long title is somewhat smaller before it is cut.
fn title_size(title: &str, room: f64) -> f64 {
    ((room - 20.0) / width(title, BOLD)).clamp(9.0, 12.0)
}

/// The colour of a series by its place, or of a verdict by what it means.
pub(super) fn shade(name: &str, number: usize) -> &'static str {
    match name {
        "denied" | "down" => "#f2495c",
        "allowed" => "#f2cc0c",
        "killed" => "#b877d9",
        _ => SERIES[number % SERIES.len()],
    }
}
