//! Unique violations by count: what a log says when nobody wants to read all of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::detail::detail;
use super::escape::escape;
use super::table::{fit, pad, style_of};
use crate::merge::Event;
use crate::record::{self, Verdict};

/// Unique violations that are told apart; the rest is counted in one row.
const LIMIT: usize = 10_000;

/// The widest that a column other than the last gets.
const WIDEST: usize = 40;

/// What makes violations the same, but for the verdict, stands in a row's key: columns with this between.
const SEPARATOR: char = '\0';

/// Counts violations that differ in nothing but time and process.
#[derive(Default)]
pub(super) struct Summary {
    rows: HashMap<String, Row>,
    beyond: u64,
    /// Reused from event to event.
    key: String,
}

struct Row {
    verdict: Verdict,
    count: u64,
    last: Option<u64>,
}

impl Summary {
    pub(super) fn observe(&mut self, event: &Event<'_>) {
        let violation = event.violation;
        let profile = record::profile_base(violation.profile.unwrap_or_default());
        self.key.clear();
        let _ = write!(
            self.key,
            "{}{SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}{}",
            violation.verdict.as_str(),
            violation.class.as_str(),
            escape(violation.operation, 64),
            escape(&profile, 256),
            detail(violation)
        );
        if let Some(row) = self.rows.get_mut(&self.key) {
            row.count += 1;
            row.last = row.last.max(violation.time);
        } else if self.rows.len() < LIMIT {
            let row = Row { verdict: violation.verdict, count: 1, last: violation.time };
            self.rows.insert(self.key.clone(), row);
        } else {
            self.beyond += 1;
        }
    }

    /// The rows, most frequent first.
    pub(super) fn write(&self, out: &mut Vec<u8>, colour: bool, width: Option<usize>) {
        let mut rows: Vec<(&String, &Row)> = self.rows.iter().collect();
        rows.sort_unstable_by(|(a_key, a), (b_key, b)| b.count.cmp(&a.count).then_with(|| a_key.cmp(b_key)));
        let mut lines: Vec<(Option<&Row>, Vec<Cow<'_, str>>)> = Vec::with_capacity(rows.len() + 2);
        let headings = ["COUNT", "LAST SEEN (UTC)", "VERDICT", "CLASS", "OPERATION", "PROFILE", "WHAT"];
        lines.push((None, headings.map(Cow::Borrowed).to_vec()));
        for (key, row) in rows {
            let last = row.last.map(super::table::date).unwrap_or_default();
            let mut cells = vec![Cow::Owned(row.count.to_string()), Cow::Owned(last)];
            cells.extend(key.split(SEPARATOR).map(Cow::Borrowed));
            lines.push((Some(row), cells));
        }
        if self.beyond > 0 {
            let cells = [self.beyond.to_string(), "others".to_owned()];
            lines.push((None, cells.map(Cow::Owned).to_vec()));
        }
        let mut widths = [0; 7];
        for (_, cells) in &lines {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.width().min(WIDEST));
            }
        }
        for (row, cells) in &lines {
            write_line(out, cells, &widths, row.filter(|_| colour).map(|row| row.verdict), width);
        }
    }
}

fn write_line(
    out: &mut Vec<u8>,
    cells: &[Cow<'_, str>],
    widths: &[usize; 7],
    colour: Option<Verdict>,
    width: Option<usize>,
) {
    let mut used = 0;
    for (at, (cell, most)) in cells.iter().zip(widths).enumerate() {
        let last = at + 1 == widths.len();
        let room =
            if last { width.map_or(usize::MAX, |width| width.saturating_sub(used).max(20)) } else { *most };
        let cell = fit(cell, room);
        let space = most.saturating_sub(cell.width());
        // Numbers end where they end.
        if at == 0 {
            pad(out, space);
        }
        let style = if at == 2 { colour.map(style_of).unwrap_or_default() } else { anstyle::Style::new() };
        out.extend_from_slice(format!("{style}{cell}{style:#}").as_bytes());
        if !last {
            pad(out, if at == 0 { 2 } else { space + 2 });
        }
        used += most + 2;
    }
    while out.last() == Some(&b' ') {
        out.pop();
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::SeenBy;
    use crate::record::{Class, Origin, Violation};

    fn observe(summary: &mut Summary, violation: &Violation<'_>) {
        summary.observe(&Event::unresolved(violation, SeenBy::default()));
    }

    fn text(summary: &Summary, width: Option<usize>) -> String {
        let mut out = Vec::new();
        summary.write(&mut out, false, width);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn counts_what_is_the_same() {
        let file = |profile: &'static [u8], pid| Violation {
            profile: Some(profile),
            name: Some(b"/etc/shadow"),
            denied_mask: Some(b"r"),
            pid: Some(pid),
            time: Some(u64::from(pid) * 1_000_000_000),
            ..Violation::new(Verdict::Denied, Class::File, Origin::File, b"open")
        };
        let mut summary = Summary::default();
        observe(&mut summary, &file(b"other", 1));
        for pid in [1, 3, 2] {
            observe(&mut summary, &file(b"web//null-/bin/sh", pid));
        }
        let want = "\
COUNT  LAST SEEN (UTC)      VERDICT  CLASS  OPERATION  PROFILE  WHAT
    3  1970-01-01 00:00:03  denied   file   open       web      /etc/shadow r
    1  1970-01-01 00:00:01  denied   file   open       other    /etc/shadow r
";
        assert_eq!(text(&summary, None), want);
    }

    #[test]
    fn what_a_program_chose_stays_in_its_place() {
        let violation = Violation {
            profile: Some(b"p\x1b[31m\n"),
            name: Some(b"/a\0b\n\x1b]0;x\x07\"}"),
            ..Violation::new(Verdict::Denied, Class::File, Origin::File, b"open\0file")
        };
        let mut summary = Summary::default();
        observe(&mut summary, &violation);
        let text = text(&summary, None);
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn tells_a_bounded_number_apart() {
        let mut summary = Summary::default();
        for number in 0..LIMIT + 5 {
            let name = format!("/{number}");
            let violation = Violation {
                name: Some(name.as_bytes()),
                ..Violation::new(Verdict::Denied, Class::File, Origin::File, b"open")
            };
            observe(&mut summary, &violation);
        }
        let text = text(&summary, Some(80));
        assert!(text.ends_with("    5  others\n"), "{}", &text[text.len() - 100..]);
        assert_eq!(text.lines().count(), LIMIT + 2);
    }
}
