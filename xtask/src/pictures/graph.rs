//! Drawings with time from left to right.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]
#![expect(clippy::cast_precision_loss, reason = "seconds, and numbers of things on a picture")]

use std::collections::BTreeMap;

use super::panel::{Panel, shade};
use super::svg::{Anchor, Area, EDGE, FAINT, Svg, TEXT, colour, plain, width};

const SMALL: f64 = 10.0;

/// From seconds to a place on the page.
struct Time {
    from: f64,
    to: f64,
    area: Area,
}

impl Time {
    fn of(panel: &Panel<'_>, area: Area) -> Self {
        Self { from: panel.answers.from as f64, to: panel.answers.to as f64, area }
    }

    fn x(&self, at: f64) -> f64 {
        self.area.x + (at - self.from) / (self.to - self.from).max(1.0) * self.area.w
    }

    /// The minutes, as hours and minutes, below the area.
    fn axis(&self, svg: &mut Svg) {
        let every = if self.to - self.from > 420.0 { 120.0 } else { 60.0 };
        let mut at = (self.from / every).ceil() * every;
        while at <= self.to {
            let minutes = (at / 60.0) as u64;
            let text = format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
            let x = self.x(at).clamp(self.area.x + 16.0, self.area.x + self.area.w - 16.0);
            svg.text((x, self.area.y + self.area.h + 14.0), &text, plain(SMALL, FAINT, Anchor::Middle), 40.0);
            at += every;
        }
    }
}

/// Lines, or bars that stand on each other.
pub(super) fn draw(panel: &Panel<'_>, svg: &mut Svg, inside: Area) {
    let stacked = panel.json["fieldConfig"]["defaults"]["custom"]["drawStyle"] == "bars";
    let room = legend(panel, svg, inside);
    let mut most = 0.0_f64;
    let mut heights: BTreeMap<u64, f64> = BTreeMap::new();
    for (at, value) in panel.series.iter().flat_map(|(_, series)| &series.points) {
        let height = heights.entry(*at as u64).or_default();
        *height = if stacked { *height + value } else { height.max(*value) };
        most = most.max(*height);
    }
    let bytes = panel.json["fieldConfig"]["defaults"]["unit"] == "bytes";
    let unit = if bytes { f64::from(1 << 20) } else { 1.0 };
    let ticks: Vec<f64> = ticks(most / unit).iter().map(|tick| tick * unit).collect();
    let top = ticks.last().copied().unwrap_or(1.0);
    let labels: Vec<_> = ticks.iter().map(|tick| panel.value(*tick)).collect();
    let left = labels.iter().map(|label| width(label, SMALL)).fold(0.0, f64::max) + 8.0;
    let area = inside.inset(left, 6.0, 2.0, 20.0 + room);
    let y = |value: f64| area.y + area.h - value / top * area.h;
    for (tick, label) in ticks.iter().zip(&labels) {
        svg.line((area.x, y(*tick)), (area.x + area.w, y(*tick)), EDGE);
        svg.text((area.x - 6.0, y(*tick) + 3.5), label, plain(SMALL, FAINT, Anchor::End), left);
    }
    let time = Time::of(panel, area);
    time.axis(svg);
    let step = panel.answers.step as f64;
    let mut below: BTreeMap<u64, f64> = BTreeMap::new();
    for (number, (name, series)) in panel.series.iter().enumerate() {
        let stroke = shade(name, number);
        if stacked {
            for (at, value) in series.points.iter().filter(|(_, value)| *value > 0.0) {
                let floor = below.entry(*at as u64).or_default();
                let bar = Area {
                    x: time.x(at - step).max(area.x),
                    y: y(*floor + value),
                    w: (area.w * step / (time.to - time.from).max(1.0) - 0.8).max(1.0),
                    h: y(*floor) - y(*floor + value),
                };
                *floor += value;
                svg.rectangle(bar, stroke, 0.0);
            }
        } else {
            // A gap in the data is a gap in the line.
            for part in series.points.chunk_by(|a, b| b.0 - a.0 <= step * 1.5) {
                let points: Vec<_> = part.iter().map(|(at, value)| (time.x(*at), y(*value))).collect();
                svg.curve(&points, stroke, Some(area.y + area.h));
            }
        }
    }
}

/// A row a series, darker or brighter by how much there was.
pub(super) fn heatmap(panel: &Panel<'_>, svg: &mut Svg, inside: Area) {
    let rows = rows(panel);
    let left = rows.iter().map(|(name, _)| width(name, SMALL)).fold(0.0, f64::max).min(inside.w * 0.3) + 8.0;
    let area = inside.inset(left, 2.0, 2.0, 20.0);
    let time = Time::of(panel, area);
    time.axis(svg);
    let most = rows.iter().flat_map(|(_, points)| points).map(|point| point.1).fold(0.0, f64::max);
    let step = panel.answers.step as f64;
    let each = area.h / rows.len() as f64;
    for ((name, points), number) in rows.iter().zip(0_u16..) {
        // The first is at the bottom.
        let top = area.y + area.h - each * f64::from(number + 1);
        if each >= 9.0 || number % 2 == 0 {
            let at = (area.x - 6.0, top + each / 2.0 + 3.5);
            svg.text(at, name, plain(SMALL, FAINT, Anchor::End), left - 6.0);
        }
        svg.rectangle(Area { y: top + 0.5, h: each - 1.0, ..area }, "#1e2127", 0.0);
        for (at, value) in points.iter().filter(|(_, value)| *value > 0.0) {
            let cell = Area {
                x: time.x(at - step).max(area.x),
                y: top + 0.5,
                w: (area.w * step / (time.to - time.from).max(1.0) + 0.2).max(1.0),
                h: each - 1.0,
            };
            svg.rectangle(cell, &orange(value / most), 0.0);
        }
    }
}

/// The rows of a heatmap from the bottom up; buckets hold those below them no more.
fn rows(panel: &Panel<'_>) -> Vec<(String, Vec<(f64, f64)>)> {
    let bound = |name: &str| if name == "+Inf" { Some(f64::INFINITY) } else { name.parse::<f64>().ok() };
    let mut rows: Vec<_> =
        panel.series.iter().map(|(name, series)| (name.clone(), series.points.clone())).collect();
    if !rows.iter().all(|(name, _)| bound(name).is_some()) {
        return rows;
    }
    rows.sort_by(|a, b| bound(&a.0).partial_cmp(&bound(&b.0)).unwrap_or(std::cmp::Ordering::Equal));
    let mut below: BTreeMap<u64, f64> = BTreeMap::new();
    for (name, points) in &mut rows {
        if let Some(bound) = bound(name).filter(|bound| bound.is_finite()) {
            *name = panel.value(bound);
        }
        for (at, value) in points {
            let whole = *value;
            *value = (whole - below.insert(*at as u64, whole).unwrap_or(0.0)).max(0.0);
        }
    }
    rows
}

/// From nearly black to bright orange.
fn orange(share: f64) -> String {
    // The root lets single events be seen beside many.
    let share = share.clamp(0.0, 1.0).sqrt();
    let between = |low: f64, high: f64| (low + (high - low) * share).round();
    format!("rgb({},{},{})", between(72.0, 255.0), between(38.0, 166.0), between(22.0, 70.0))
}

/// A row a series, in the colours that the panel gives its values.
pub(super) fn states(panel: &Panel<'_>, svg: &mut Svg, inside: Area) {
    let left =
        panel.series.iter().map(|(name, _)| width(name, SMALL)).fold(0.0, f64::max).min(inside.w * 0.4) + 8.0;
    let area = inside.inset(left, 2.0, 2.0, 38.0);
    let time = Time::of(panel, area);
    time.axis(svg);
    let step = panel.answers.step as f64;
    let each = (area.h / panel.series.len() as f64).min(48.0);
    let mappings = &panel.json["fieldConfig"]["defaults"]["mappings"][0]["options"];
    for ((name, series), number) in panel.series.iter().zip(0_u16..) {
        let top = area.y + each * f64::from(number);
        svg.text((area.x - 6.0, top + each / 2.0 + 3.5), name, plain(SMALL, TEXT, Anchor::End), left - 6.0);
        for part in series.points.chunk_by(|a, b| (a.1 - b.1).abs() < 0.5 && b.0 - a.0 <= step * 1.5) {
            let [(first, value), ..] = part else { continue };
            let last = part.last().map_or(*first, |point| point.0);
            let x = time.x(first - step).max(area.x);
            let bar = Area { x, y: top + 4.0, w: time.x(last) - x, h: each - 8.0 };
            svg.rectangle(
                bar,
                colour(mappings[format!("{value:.0}")]["color"].as_str().unwrap_or("blue")),
                1.0,
            );
        }
    }
    let mut x = inside.x;
    for mapping in mappings.as_object().into_iter().flat_map(serde_json::Map::values) {
        let text = mapping["text"].as_str().unwrap_or_default();
        x = key(
            svg,
            x,
            inside.y + inside.h - 4.0,
            colour(mapping["color"].as_str().unwrap_or("blue")),
            text,
            inside.w,
        );
    }
}

/// The names of the series, in as many lines as they need but at most two; returns how high they are.
fn legend(panel: &Panel<'_>, svg: &mut Svg, inside: Area) -> f64 {
    let mut lines: Vec<Vec<(usize, &str)>> = vec![Vec::new()];
    let mut x = 0.0;
    for (number, (name, _)) in panel.series.iter().enumerate() {
        let need = width(name, SMALL) + 28.0;
        if x + need > inside.w && x > 0.0 {
            lines.push(Vec::new());
            x = 0.0;
        }
        x += need;
        if let Some(line) = lines.last_mut() {
            line.push((number, name));
        }
    }
    let hidden: usize = lines.iter().skip(2).map(Vec::len).sum();
    lines.truncate(2);
    let height = 15.0 * lines.len() as f64;
    for (line, row) in lines.iter().zip(0_u16..) {
        let y = inside.y + inside.h - height + 11.0 + 15.0 * f64::from(row);
        let mut x = inside.x;
        for (number, name) in line {
            x = key(svg, x, y, shade(name, *number), name, inside.w);
        }
        if hidden > 0 && row == 1 && x + 60.0 < inside.x + inside.w {
            svg.text((x, y), &format!("and {hidden} more"), plain(SMALL, FAINT, Anchor::Start), 80.0);
        }
    }
    height
}

/// A dash of the colour and what it stands for; returns where the next begins.
fn key(svg: &mut Svg, x: f64, y: f64, fill: &str, text: &str, room: f64) -> f64 {
    svg.rectangle(Area { x, y: y - 5.5, w: 12.0, h: 3.5 }, fill, 1.5);
    svg.text((x + 16.0, y), text, plain(SMALL, TEXT, Anchor::Start), room - 16.0);
    x + 28.0 + width(text, SMALL)
}

/// From 0 to just above the most, in about four steps that a person would choose.
fn ticks(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|by| by * power).find(|step| *step >= rough);
    let step = step.unwrap_or(most);
    let count = (most / step * 0.999).ceil().max(1.0) as u32;
    (0..=count).map(|number| f64::from(number) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        for (most, want) in [
            (0.0, vec![0.0, 0.25, 0.5, 0.75, 1.0]),
            (4.0, vec![0.0, 1.0, 2.0, 3.0, 4.0]),
            (7.3, vec![0.0, 2.0, 4.0, 6.0, 8.0]),
            (5000.0, vec![0.0, 2000.0, 4000.0, 6000.0]),
        ] {
            let got = ticks(most);
            assert!(got.last().is_some_and(|top| *top >= most), "{most}: {got:?}");
            assert_eq!(got, want, "{most}");
        }
    }
}
