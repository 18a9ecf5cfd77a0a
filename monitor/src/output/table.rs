//! Events as lines for people, in columns.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::detail::detail;
use super::escape::escape;
use crate::identity::{How, Identity};
use crate::merge::{Event, SeenBy};
use crate::record::{Class, Verdict};

/// The heading comes again after so many lines on a terminal, where the first has scrolled away.
const LINES_BETWEEN_HEADINGS: usize = 50;

/// The last column is not squeezed below this; a narrower terminal wraps it.
const LEAST_DETAIL: usize = 20;

/// A column before the last one: as wide as what it has held, within limits, and never narrower again.
struct Column {
    heading: &'static str,
    width: usize,
    most: usize,
}

/// Formats events as lines whose columns line up with the lines before.
pub(super) struct Table {
    columns: [Column; 8],
    /// Colours and a width are for terminals alone.
    terminal: bool,
    colour: bool,
    until_heading: usize,
}

impl Table {
    /// For a `terminal` or for a file, with colour or without.
    pub(super) fn new(terminal: bool, colour: bool) -> Self {
        let column = |heading, width, most| Column { heading, width, most };
        Self {
            columns: [
                column("TIME (UTC)", 12, 12),
                column("SEEN BY", 10, 10),
                column("VERDICT", 7, 7),
                column("CLASS", 10, longest(Class::ALL.iter().map(|class| class.as_str()))),
                column("OPERATION", 10, 20),
                column("PROFILE", 16, 40),
                column("WORKLOAD", 20, 48),
                column("PROCESS", 16, 26),
            ],
            terminal,
            colour,
            until_heading: 0,
        }
    }

    /// Appends `event`, and a heading when one is due. `width` is the terminal's, if it has one.
    pub(super) fn write_line(
        &mut self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        width: Option<usize>,
    ) -> io::Result<()> {
        if self.until_heading == 0 {
            self.write_heading(out);
            self.until_heading = if self.terminal { LINES_BETWEEN_HEADINGS } else { usize::MAX };
        }
        self.until_heading -= 1;
        let violation = event.violation;
        let cells: [Cow<'_, str>; 8] = [
            violation.time.map(clock).unwrap_or_default().into(),
            seen_by(event.seen_by).into(),
            violation.verdict.as_str().into(),
            violation.class.as_str().into(),
            escape(violation.operation, 64),
            escape(violation.profile.unwrap_or_default(), 256),
            workload(event.subject),
            process(violation.comm, violation.pid).into(),
        ];
        let mut used = 0;
        for (at, (cell, column)) in cells.iter().zip(&mut self.columns).enumerate() {
            let cell = fit(cell, column.most);
            column.width = column.width.max(cell.width());
            let style = if at == 2 && self.colour { style_of(violation.verdict) } else { Style::new() };
            out.extend_from_slice(format!("{style}{cell}{style:#}").as_bytes());
            pad(out, column.width - cell.width() + 2);
            used += column.width + 2;
        }
        let detail = detail(violation);
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(used).max(LEAST_DETAIL));
        out.extend_from_slice(fit(&detail, room).as_bytes());
        while out.last() == Some(&b' ') {
            out.pop();
        }
        out.push(b'\n');
        Ok(())
    }

    fn write_heading(&self, out: &mut Vec<u8>) {
        let style = if self.colour { Style::new().bold() } else { Style::new() };
        out.extend_from_slice(format!("{style}").as_bytes());
        for column in &self.columns {
            out.extend_from_slice(column.heading.as_bytes());
            pad(out, column.width.saturating_sub(column.heading.len()) + 2);
        }
        out.extend_from_slice(format!("WHAT{style:#}\n").as_bytes());
    }
}

pub(super) fn pad(out: &mut Vec<u8>, cells: usize) {
    out.resize(out.len() + cells, b' ');
}

/// `text`, or as much of it as fits into `width` cells with an ellipsis.
pub(super) fn fit(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let mut used = 0;
    let kept = text.chars().take_while(|character| {
        used += character.width().unwrap_or(0);
        used < width
    });
    kept.chain(['…']).collect::<String>().into()
}

fn longest<'a>(words: impl Iterator<Item = &'a str>) -> usize {
    words.map(str::len).max().unwrap_or(0)
}

/// Hours, minutes, seconds and milliseconds of the day, UTC.
fn clock(nanoseconds: u64) -> String {
    let stamp = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string();
    stamp.split_once('T').map(|(_, clock)| clock.trim_end_matches('Z').to_owned()).unwrap_or_default()
}

/// Date and time to the second, UTC.
pub(super) fn date(nanoseconds: u64) -> String {
    let stamp = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string();
    stamp.trim_end_matches('Z').replace('T', " ")
}

const fn seen_by(seen: SeenBy) -> &'static str {
    match seen {
        SeenBy { log: true, .. } => "log",
        SeenBy { ebpf: true, audit: true, .. } => "ebpf+audit",
        SeenBy { ebpf: true, audit: false, .. } => "ebpf",
        SeenBy { ebpf: false, audit: true, .. } => "audit",
        SeenBy { ebpf: false, audit: false, .. } => "",
    }
}

/// `namespace/pod/container`, with the short id for a container without a name and the UID for a pod without
/// one; `host`; nothing where nobody knows.
fn workload(identity: &Identity) -> Cow<'_, str> {
    let Some(container) = identity.container.as_deref() else {
        return if identity.how == How::Host { "host".into() } else { "".into() };
    };
    let name = if container.name.is_empty() { container.short_id() } else { &container.name };
    let Some(pod) = container.pod.as_deref() else { return escape(name.as_bytes(), 256) };
    let path = match (pod.namespace.is_empty(), pod.name.is_empty()) {
        (_, true) => format!("{}/{name}", pod.uid),
        (true, false) => format!("{}/{name}", pod.name),
        (false, false) => format!("{}/{}/{name}", pod.namespace, pod.name),
    };
    escape(path.as_bytes(), 1024).into_owned().into()
}

fn process(comm: Option<&[u8]>, pid: Option<u32>) -> String {
    let comm = escape(comm.unwrap_or_default(), 64);
    match pid {
        Some(pid) => format!("{comm}[{pid}]"),
        None => comm.into_owned(),
    }
}

pub(super) const fn style_of(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Denied | Verdict::Killed | Verdict::Error => AnsiColor::Red,
        Verdict::Allowed => AnsiColor::Yellow,
        Verdict::Audit | Verdict::Hint => AnsiColor::Cyan,
        Verdict::Status => return Style::new().dimmed(),
    };
    colour.on_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::{Container, Pod, Unknown};
    use crate::record::{Origin, Violation};

    fn lines(table: &mut Table, violations: &[Violation<'_>], width: Option<usize>) -> String {
        let mut out = Vec::new();
        for violation in violations {
            let event = Event::unresolved(violation, SeenBy { ebpf: true, audit: true, log: false });
            table.write_line(&mut out, &event, width).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn denial<'a>() -> Violation<'a> {
        let mut violation = Violation::new(Verdict::Denied, Class::File, Origin::Netlink, b"open");
        violation.time = Some(1_795_450_134_756_000_000);
        violation.profile = Some(b"web");
        violation.comm = Some(b"cat");
        violation.pid = Some(7);
        violation.name = Some(b"/etc/shadow");
        violation.denied_mask = Some(b"r");
        violation
    }

    #[test]
    fn columns_line_up_under_a_heading() {
        let wide = Violation { profile: Some("日本".repeat(9).leak().as_bytes()), ..denial() };
        assert_eq!(
            lines(&mut Table::new(false, false), &[denial(), wide, denial()], None),
            "\
TIME (UTC)    SEEN BY     VERDICT  CLASS       OPERATION   PROFILE           WORKLOAD              PROCESS           WHAT
16:08:54.756  ebpf+audit  denied   file        open        web                                     cat[7]            /etc/shadow r
16:08:54.756  ebpf+audit  denied   file        open        日本日本日本日本日本日本日本日本日本                        cat[7]            /etc/shadow r
16:08:54.756  ebpf+audit  denied   file        open        web                                                         cat[7]            /etc/shadow r
"
        );
    }

    #[test]
    fn whose_it_was_is_named_as_far_as_it_is_known() {
        let pod = |namespace: &str, name: &str| Pod {
            uid: "uid".into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Pod::default()
        };
        let container = |name: &str, pod: Option<Pod>| Container {
            id: "0123456789abcdef".into(),
            name: name.into(),
            pod: pod.map(Arc::new),
            ..Container::default()
        };
        for (container, how, want) in [
            (Some(container("app", Some(pod("shop", "web-x")))), How::Cgroup, "shop/web-x/app"),
            (Some(container("", Some(pod("shop", "web-x")))), How::Cgroup, "shop/web-x/0123456789ab"),
            (Some(container("", Some(pod("", "")))), How::Cgroup, "uid/0123456789ab"),
            (Some(container("app", Some(pod("", "web-x")))), How::Cgroup, "web-x/app"),
            (Some(container("web", None)), How::Proc, "web"),
            (Some(container("", None)), How::Proc, "0123456789ab"),
            (Some(container("\x1b[2J", None)), How::Proc, r"\x1b[2J"),
            (None, How::Host, "host"),
            (None, How::Unknown(Unknown::ProcessGone), ""),
        ] {
            let identity = Identity { container: container.map(Arc::new), how, own: false };
            assert_eq!(workload(&identity), want);
        }
    }

    #[test]
    fn a_terminal_line_never_wraps_and_long_cells_are_cut_visibly() {
        let long = [b'x'; 65_536];
        let violation = Violation {
            name: Some(&long),
            profile: Some(&long),
            comm: Some(&long),
            operation: &long,
            ..denial()
        };
        let text = lines(&mut Table::new(true, false), &[violation], Some(190));
        let line = text.lines().nth(1).unwrap();
        assert_eq!(line.width(), 190, "{line}");
        assert_eq!(line.matches('…').count(), 4, "{line}");
    }

    #[test]
    fn nothing_from_a_record_reaches_the_terminal_as_more_than_text() {
        let evil = "\x1b[2J\n\r\u{9b}1m\u{202e}\u{200b}".as_bytes();
        let violation = Violation {
            operation: evil,
            profile: Some(evil),
            name: Some(evil),
            comm: Some(evil),
            peer: Some(evil),
            info: Some(evil),
            ..denial()
        };
        let text = lines(&mut Table::new(true, false), &[violation], None);
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(!text.replace('\n', "").chars().any(crate::output::escape::acts), "{text:?}");
    }

    #[test]
    fn colour_comes_only_when_asked_for_and_is_closed_again() {
        let coloured = lines(&mut Table::new(true, true), &[denial()], None);
        assert!(coloured.contains("\x1b[31mdenied\x1b[0m"), "{coloured:?}");
        assert!(!lines(&mut Table::new(true, false), &[denial()], None).contains('\x1b'));
    }
}
