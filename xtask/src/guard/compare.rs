//! Numbers against those of a baseline. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

/// Numbers by what they count.
pub(crate) type Counts = BTreeMap<String, u64>;

/// By how much a number may differ from the baseline's: by so large a share of it, or by so many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) share: f64,
    pub(crate) least: u64,
}

impl Tolerance {
    /// Where another compiler, another processor or another kernel made the baseline: it is still known when
    /// something has become much dearer.
    pub(crate) fn of_other_circumstances(self) -> Self {
        Self { share: self.share.max(0.25), least: self.least.max(32) }
    }

    fn of(self, baseline: u64) -> u64 {
        // Rounded down: what is over by less than one is not over.
        ((baseline as f64 * self.share) as u64).max(self.least)
    }
}

/// What a number is to the baseline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Worse,
    Better,
    /// The baseline has none.
    New,
    /// There is none any more.
    Gone,
}

impl Verdict {
    /// Also what the baseline lacks or has too many: else nothing would guard it.
    pub(crate) fn fails(self) -> bool {
        matches!(self, Self::Worse | Self::New | Self::Gone)
    }

    pub(crate) fn is_better(self) -> bool {
        self == Self::Better
    }
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) baseline: Option<u64>,
    pub(crate) now: Option<u64>,
    pub(crate) verdict: Verdict,
}

/// A row for each number that the baseline or now has. Less is better.
pub(crate) fn group(name: &str, baseline: &Counts, now: &Counts, tolerance: Tolerance) -> Vec<Row> {
    let keys: BTreeSet<&String> = baseline.keys().chain(now.keys()).collect();
    let row = |key: &String| {
        let (baseline, now) = (baseline.get(key).copied(), now.get(key).copied());
        Row { what: format!("{name}: {key}"), baseline, now, verdict: judge(baseline, now, tolerance) }
    };
    keys.into_iter().map(row).collect()
}

fn judge(baseline: Option<u64>, now: Option<u64>, tolerance: Tolerance) -> Verdict {
    match (baseline, now) {
        (None, _) => Verdict::New,
        (Some(_), None) => Verdict::Gone,
        (Some(baseline), Some(now)) if now > baseline + tolerance.of(baseline) => Verdict::Worse,
        (Some(baseline), Some(now)) if now + tolerance.of(baseline) < baseline => Verdict::Better,
        (Some(_), Some(_)) => Verdict::Kept,
    }
}

/// For a terminal; of no row, nothing.
pub(crate) fn table<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let mut text =
        format!("{:<width$} {:>10} {:>10} {:>8}  {}\n", "what", "baseline", "now", "change", "verdict");
    for row in rows {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let (baseline, now) = (number(row.baseline), number(row.now));
        let (change, verdict) = (row.change(), row.verdict);
        let _ = writeln!(text, "{:<width$} {baseline:>10} {now:>10} {change:>8}  {verdict}", row.what);
    }
    text
}

impl Row {
    fn change(&self) -> String {
        match (self.baseline, self.now) {
            (Some(baseline @ 1..), Some(now)) => {
                format!("{:+.1} %", (now as f64 / baseline as f64 - 1.0) * 100.0)
            }
            _ => "-".to_owned(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept => "kept",
            Self::Worse => "WORSE",
            Self::Better => "better",
            Self::New => "NOT IN THE BASELINE",
            Self::Gone => "GONE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Tolerance = Tolerance { share: 0.03, least: 8 };

    #[test]
    fn a_number_is_held_against_the_baseline() {
        for (name, baseline, now, want) in [
            ("the same", Some(1000), Some(1000), Verdict::Kept),
            ("just within", Some(1000), Some(1030), Verdict::Kept),
            ("just too much", Some(1000), Some(1031), Verdict::Worse),
            ("just not better", Some(1000), Some(970), Verdict::Kept),
            ("better", Some(1000), Some(969), Verdict::Better),
            ("a few of few", Some(20), Some(28), Verdict::Kept),
            ("many of few", Some(20), Some(29), Verdict::Worse),
            ("fewer than there can be less", Some(4), Some(0), Verdict::Kept),
            ("new", None, Some(1), Verdict::New),
            ("gone", Some(1), None, Verdict::Gone),
        ] {
            assert_eq!(judge(baseline, now, STRICT), want, "{name}");
        }
    }

    #[test]
    fn what_fails_is_what_nobody_wants() {
        for (verdict, fails) in [
            (Verdict::Kept, false),
            (Verdict::Better, false),
            (Verdict::Worse, true),
            (Verdict::New, true),
            (Verdict::Gone, true),
        ] {
            assert_eq!(verdict.fails(), fails, "{verdict}");
        }
    }

    #[test]
    fn another_compiler_gets_a_wider_tolerance_and_not_every_one() {
        let wide = STRICT.of_other_circumstances();
        for (now, want) in [(1250, Verdict::Kept), (1251, Verdict::Worse), (749, Verdict::Better)] {
            assert_eq!(judge(Some(1000), Some(now), wide), want, "{now}");
        }
    }

    #[test]
    fn a_group_has_every_number_of_both_once() {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let rows = group("g", &counts(&[("a", 100), ("b", 1)]), &counts(&[("a", 150), ("c", 1)]), STRICT);
        let got: Vec<_> = rows.iter().map(|row| (row.what.as_str(), row.verdict)).collect();
        assert_eq!(got, [("g: a", Verdict::Worse), ("g: b", Verdict::Gone), ("g: c", Verdict::New)]);
        assert_eq!(table([].iter()), "");
        let table = table(rows.iter());
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[1].contains("+50.0 %") && lines[1].ends_with("WORSE"), "{table}");
        assert!(lines[2].ends_with("GONE") && lines[3].ends_with("NOT IN THE BASELINE"), "{table}");
    }
}
