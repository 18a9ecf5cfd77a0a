//! What a measurement comes to: a number beside its target.
//!
//! Each part declares its [`Goal`]s as constants, so that what was promised can be read without measuring, and
//! fills one [`Figure`] for each: measured, or why not.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing is promised: told beside one of which it is.
    Told,
}

/// Something that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// The subcommand that measures it.
    pub(crate) part: &'static str,
    pub(crate) what: &'static str,
    /// Empty for a ratio.
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
}

/// What became of a goal.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Kept,
    Missed,
    /// There was no target.
    Told,
    NotMeasured,
}

/// A goal, measured or not, as it is kept in JSON.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) part: String,
    pub(crate) what: String,
    pub(crate) unit: String,
    /// In words: `at least 10`.
    pub(crate) target: String,
    /// The middle one of several runs.
    pub(crate) measured: Option<f64>,
    /// The least and the most of them.
    pub(crate) spread: Option<(f64, f64)>,
    pub(crate) verdict: Verdict,
    /// How it was measured where that is not plain, or why it was not.
    pub(crate) note: Option<String>,
}

impl Goal {
    /// One number.
    pub(crate) fn measured(&self, measured: f64) -> Figure {
        let kept = match self.target {
            Target::AtLeast(least) => Some(measured >= least),
            Target::AtMost(most) => Some(measured <= most),
            Target::Told => None,
        };
        let verdict = match kept {
            Some(true) => Verdict::Kept,
            // Also what is no number at all.
            Some(false) => Verdict::Missed,
            None => Verdict::Told,
        };
        Figure { measured: Some(measured), verdict, ..self.not_measured("").plain() }
    }

    /// The middle one of several runs' numbers.
    pub(crate) fn median(&self, mut runs: Vec<f64>) -> Figure {
        runs.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (runs.first().copied(), runs.last().copied()) else {
            return self.not_measured("there was no run");
        };
        let middle = runs.get((runs.len() - 1) / 2).copied().unwrap_or(f64::NAN);
        Figure { spread: Some((least, most)), ..self.measured(middle) }
    }

    /// None, and why.
    pub(crate) fn not_measured(&self, why: impl Into<String>) -> Figure {
        Figure {
            part: self.part.to_owned(),
            what: self.what.to_owned(),
            unit: self.unit.to_owned(),
            target: self.target.to_string(),
            measured: None,
            spread: None,
            verdict: Verdict::NotMeasured,
            note: Some(why.into()),
        }
    }
}

impl Figure {
    /// Says how it was measured.
    pub(crate) fn noting(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// Whether it is this goal's.
    pub(crate) fn is_of(&self, goal: &Goal) -> bool {
        (&*self.part, &*self.what) == (goal.part, goal.what)
    }

    fn plain(self) -> Self {
        Self { note: None, ..self }
    }

    /// The number with its spread: `12.3 (11.9 - 14.0)`.
    pub(crate) fn value(&self) -> String {
        match (self.measured, self.spread) {
            (None, _) => "-".to_owned(),
            (Some(value), None) => number(value),
            (Some(value), Some((least, most))) => {
                format!("{} ({} - {})", number(value), number(least), number(most))
            }
        }
    }
}

/// Whether nothing that was promised is missed; what was not measured is not known.
pub(crate) fn kept(figures: &[Figure]) -> bool {
    figures.iter().all(|figure| figure.verdict != Verdict::Missed)
}

/// For a terminal.
pub(crate) fn table(figures: &[Figure]) -> String {
    let rows = figures.iter().map(|figure| {
        let what = format!("{}: {}", figure.part, figure.what);
        let unit = figure.unit.clone();
        [what, figure.target.clone(), figure.value(), unit, figure.verdict.to_string()]
    });
    let head = ["what", "target", "measured", "unit", "verdict"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for figure in figures {
        if let Some(note) = &figure.note {
            let _ = writeln!(text, "  {}: {}: {note}", figure.part, figure.what);
        }
    }
    text
}

/// As many digits as mean something; thousands in groups.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 3,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let rest = rest.trim_end_matches('0').trim_end_matches('.');
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && !grouped.ends_with('-') && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {}", number(*least)),
            Self::AtMost(most) => write!(f, "at most {}", number(*most)),
            Self::Told => f.write_str("-"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept => "kept",
            Self::Missed => "MISSED",
            Self::Told => "-",
            Self::NotMeasured => "not measured",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Goal =
        Goal { part: "pipeline", what: "events a second", unit: "1/s", target: Target::AtLeast(500_000.0) };

    #[test]
    fn a_number_is_held_against_its_target() {
        let goal = |target| Goal { target, ..FAST };
        for (name, target, measured, want) in [
            ("just enough", Target::AtLeast(10.0), 10.0, Verdict::Kept),
            ("too little", Target::AtLeast(10.0), 9.99, Verdict::Missed),
            ("just not too much", Target::AtMost(10.0), 10.0, Verdict::Kept),
            ("too much", Target::AtMost(10.0), 10.01, Verdict::Missed),
            ("no number", Target::AtMost(10.0), f64::NAN, Verdict::Missed),
            ("nothing promised", Target::Told, 10.0, Verdict::Told),
        ] {
            let figure = goal(target).measured(measured);
            assert_eq!(figure.verdict, want, "{name}");
            assert_eq!(kept(&[figure]), want != Verdict::Missed, "{name}");
        }
        let figure = FAST.not_measured("no QEMU");
        assert_eq!((figure.verdict, figure.measured), (Verdict::NotMeasured, None));
    }

    #[test]
    fn the_middle_run_counts() {
        let figure = FAST.median(vec![900_000.0, 400_000.0, 510_000.0]);
        assert_eq!((figure.measured, figure.verdict), (Some(510_000.0), Verdict::Kept));
        assert_eq!(figure.value(), "510,000 (400,000 - 900,000)");
        assert_eq!(FAST.median(vec![]).verdict, Verdict::NotMeasured);
    }

    #[test]
    fn numbers_have_as_many_digits_as_mean_something() {
        for (value, want) in [
            (1_234_567.8, "1,234,568"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.2344, "1.234"),
            (1.150, "1.15"),
            (10.0, "10"),
            (-123_456.0, "-123,456"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn a_table_has_a_row_for_each() {
        let text = table(&[FAST.measured(1.0), FAST.not_measured("no time")]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].contains("at least 500,000") && lines[1].ends_with("MISSED"), "{text}");
        assert!(lines[2].ends_with("not measured") && lines[3].ends_with("no time"), "{text}");
    }

    #[test]
    fn json_brings_a_figure_back() {
        let figure = FAST.median(vec![1.0, 2.0]).noting("a note");
        let json = serde_json::to_string(&figure).unwrap();
        assert_eq!(serde_json::from_str::<Figure>(&json).unwrap(), figure);
    }
}
