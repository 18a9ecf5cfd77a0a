//! `cargo xtask pictures`: the dashboards, as pictures for the documentation.
//!
//! There is no Grafana in it: the panels' expressions are asked of a Prometheus that scrapes an agent in the lab,
//! and the answers are drawn by the panels' own settings.
//!
//! ```text
//! dashboards/*.json -> expressions -> Prometheus -> answers (kept) -> panels -> docs/images/*.svg
//! ```

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use self::panel::Panel;
use self::svg::{Anchor, Area, FAINT, Style, Svg, TEXT, plain};
use crate::lab::sre;
use crate::{observe, place, setup, step};

mod answers;
mod graph;
mod panel;
mod svg;
mod table;
mod units;

pub(crate) use answers::Answers;

/// Draws the dashboards with what Prometheus says about a shop in the lab, into docs/images.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A Debian kernel series or the path of a vmlinuz.
    #[arg(long, value_name = "SERIES|PATH", default_value = "6.12")]
    kernel: String,
    /// How long the shop is watched.
    #[arg(long, value_name = "SECONDS", default_value = "240")]
    seconds: u64,
    /// Draws the answers of the last time again and boots nothing.
    #[arg(long)]
    redraw: bool,
}

const WIDTH: f64 = 1200.0;
/// Of the page around the panels, and between them.
const MARGIN: f64 = 8.0;
/// Grafana's grid has 24 columns.
const COLUMN: f64 = (WIDTH - MARGIN) / 24.0;
const ROW: f64 = 32.0;
const HEADING: f64 = 44.0;

/// Asks, unless the answers are to be used again, and draws.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let kept = place::lab().join("answers.json");
    if !arguments.redraw {
        setup::lab()?;
        let answers = sre::answers(&arguments.kernel, Duration::from_secs(arguments.seconds))?;
        step::write(&kept, serde_json::to_string(&answers)?)?;
    }
    let text = fs::read_to_string(&kept).with_context(|| {
        format!("reading {}; way out: cargo xtask pictures without --redraw", kept.display())
    })?;
    let answers: Answers = serde_json::from_str(&text).with_context(|| kept.display().to_string())?;
    for (path, picture) in pictures(&answers)? {
        step::write(&path, picture)?;
        println!("{}", path.display());
    }
    Ok(true)
}

/// Each dashboard's picture and where it belongs.
fn pictures(answers: &Answers) -> Result<Vec<(PathBuf, String)>> {
    let draw = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().context("a dashboard without a name")?.to_string_lossy();
        let name = format!("{}.svg", name.trim_start_matches("aa-monitor-"));
        let picture = picture(&dashboard, answers).with_context(|| path.display().to_string())?;
        Ok((place::workspace().join("docs/images").join(name), picture))
    };
    observe::files("", ".json")?.into_iter().map(draw).collect()
}

fn picture(dashboard: &Value, answers: &Answers) -> Result<String> {
    let uid = dashboard["uid"].as_str().context("a dashboard without uid")?;
    let results = answers.dashboards.get(uid).with_context(|| format!("no answers for {uid}"))?;
    let panels = dashboard["panels"].as_array().context("a dashboard without panels")?;
    let title = dashboard["title"].as_str().unwrap_or_default();
    let mut svg = Svg::default();
    let heading = Style { bold: true, ..plain(18.0, TEXT, Anchor::Start) };
    svg.text((MARGIN + 2.0, 29.0), title, heading, WIDTH / 2.0);
    let minutes = format!("last {} minutes", (answers.to - answers.from) / 60);
    svg.text((WIDTH - MARGIN - 2.0, 29.0), &minutes, plain(12.0, FAINT, Anchor::End), WIDTH / 3.0);
    let mut bottom = 0.0_f64;
    for (panel, results) in panels.iter().zip(results) {
        let grid =
            |key: &str| panel["gridPos"][key].as_f64().with_context(|| format!("a panel without {key}"));
        let place = Area {
            x: MARGIN + grid("x")? * COLUMN,
            y: HEADING + grid("y")? * ROW,
            w: grid("w")? * COLUMN - MARGIN,
            h: grid("h")? * ROW - MARGIN,
        };
        bottom = bottom.max(place.y + place.h);
        Panel::new(panel, results, answers).draw(&mut svg, place);
    }
    Ok(svg.page(WIDTH, bottom + MARGIN, title))
}

#[cfg(test)]
mod tests;
