//! A table: a row a series, a column a label, the value last.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::collections::BTreeSet;

use super::panel::Panel;
use super::svg::{Anchor, Area, BOLD, EDGE, FAINT, Style, Svg, TEXT, plain, width};
use super::units;

const SIZE: f64 = 10.5;
const LINE: f64 = 21.0;

/// A column: its heading and its cells.
struct Column {
    heading: String,
    cells: Vec<String>,
}

impl Column {
    fn need(&self) -> f64 {
        let cells = self.cells.iter().map(|cell| width(cell, SIZE));
        cells.fold(width(&self.heading, SIZE * BOLD), f64::max) + 14.0
    }
}

pub(super) fn draw(panel: &Panel<'_>, svg: &mut Svg, inside: Area) {
    let columns = columns(panel);
    let needs: Vec<f64> = columns.iter().map(Column::need).collect();
    let widths = shares(&needs, inside.w);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lines on a picture")]
    let mut room = ((inside.h - LINE) / LINE).floor().max(0.0) as usize;
    let rows = panel.series.len();
    if rows > room {
        // The last line says how many are not shown, as one would have to scroll for them.
        room = room.saturating_sub(1);
    }
    let mut x = inside.x;
    for (column, width) in columns.iter().zip(widths) {
        let heading = Style { bold: true, ..plain(SIZE, "#6e9fff", Anchor::Start) };
        svg.text((x, inside.y + 14.0), &column.heading, heading, width - 8.0);
        for (cell, number) in column.cells.iter().take(room).zip(1_u16..) {
            let y = inside.y + LINE * f64::from(number) + 14.0;
            svg.text((x, y), cell, plain(SIZE, TEXT, Anchor::Start), width - 8.0);
        }
        x += width;
    }
    for number in (1_u16..).take(rows.min(room) + 1) {
        let y = inside.y + LINE * f64::from(number);
        svg.line((inside.x, y), (inside.x + inside.w, y), EDGE);
    }
    if rows > room {
        let at = (inside.x, inside.y + inside.h - 4.0);
        svg.text(at, &format!("and {} more rows", rows - room), plain(SIZE, FAINT, Anchor::Start), inside.w);
    }
}

fn columns(panel: &Panel<'_>) -> Vec<Column> {
    let keys: BTreeSet<&String> = panel.series.iter().flat_map(|(_, series)| series.labels.keys()).collect();
    let labels = keys.into_iter().filter(|key| *key != "__name__").map(|key| Column {
        heading: key.clone(),
        cells: panel
            .series
            .iter()
            .map(|(_, series)| series.labels.get(key).cloned().unwrap_or_default())
            .collect(),
    });
    let mut columns: Vec<_> = labels.collect();
    let organised = panel.json["transformations"].as_array().into_iter().flatten();
    let hidden = organised.into_iter().any(|step| step["options"]["excludeByName"]["Value"] == true);
    if !hidden {
        columns.push(values(panel));
    }
    columns
}

/// The values, in the words of the panel's override for them.
fn values(panel: &Panel<'_>) -> Column {
    let overrides = panel.json["fieldConfig"]["overrides"].as_array().into_iter().flatten();
    let ours = overrides.into_iter().find(|one| one["matcher"]["options"] == "Value");
    let property = |id: &str| {
        let all = ours.and_then(|one| one["properties"].as_array()).into_iter().flatten();
        all.into_iter().find(|property| property["id"] == id).and_then(|property| property["value"].as_str())
    };
    let unit = property("unit").unwrap_or("short");
    let decimals = panel.json["fieldConfig"]["defaults"]["decimals"].as_u64();
    let text = |value: f64| units::text(value, unit, decimals, panel.answers.to);
    Column {
        heading: property("displayName").unwrap_or("Value").to_owned(),
        cells: panel.series.iter().map(|(_, series)| series.last().map_or(String::new(), text)).collect(),
    }
}

/// What each column gets: what it needs where all have room; otherwise the widest give first.
fn shares(needs: &[f64], room: f64) -> Vec<f64> {
    let mut limit = needs.iter().copied().fold(0.0, f64::max);
    while needs.iter().map(|need| need.min(limit)).sum::<f64>() > room && limit > 1.0 {
        limit *= 0.97;
    }
    let taken: f64 = needs.iter().map(|need| need.min(limit)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of columns")]
    let more = ((room - taken) / needs.len().max(1) as f64).max(0.0);
    needs.iter().map(|need| need.min(limit) + more).collect()
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn columns_fill_the_room_and_never_more() {
        for needs in [vec![10.0, 20.0], vec![500.0, 20.0, 30.0], vec![400.0; 9]] {
            let got = shares(&needs, 300.0);
            let sum: f64 = got.iter().sum();
            assert!(sum <= 300.1 && sum > 285.0, "{needs:?}: {got:?}");
        }
        let got = shares(&[500.0, 20.0], 300.0);
        assert!(got[1] >= 20.0, "{got:?}");
    }
}
