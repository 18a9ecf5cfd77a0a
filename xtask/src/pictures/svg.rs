//! Drawing: shapes and text in a box that they do not leave.

use std::fmt::Write as _;

pub(super) const FONT: &str = "Inter, 'DejaVu Sans', 'Helvetica Neue', Arial, sans-serif";
pub(super) const PAGE: &str = "#111217";
pub(super) const SURFACE: &str = "#181b1f";
pub(super) const EDGE: &str = "#2c3235";
pub(super) const TEXT: &str = "#ccccdc";
pub(super) const FAINT: &str = "#8e8e9c";
/// For series, in turn; none of those that a verdict has.
pub(super) const SERIES: [&str; 8] =
    ["#73bf69", "#5794f2", "#ff780a", "#37b7c3", "#e0b8f4", "#a3805f", "#8ad1b8", "#c0c4cc"];

/// A colour that a dashboard calls by its name.
pub(super) fn colour(name: &str) -> &str {
    match name {
        "green" => "#56a64b",
        "yellow" => "#c9a010",
        "red" => "#d43a4a",
        "orange" => "#d9661f",
        "blue" => "#3274d9",
        other => other,
    }
}

/// A rectangle on the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

impl Area {
    /// Without so much on each side.
    pub(super) fn inset(self, left: f64, top: f64, right: f64, bottom: f64) -> Self {
        Self { x: self.x + left, y: self.y + top, w: self.w - left - right, h: self.h - top - bottom }
    }
}

/// Where a text stands from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that grows.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn rectangle(&mut self, area: Area, fill: &str, radius: f64) {
        let Area { x, y, w, h } = area;
        let _ = writeln!(
            self.0,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" rx="{radius}" fill="{}"/>"#,
            w.max(0.0),
            h.max(0.0),
            escaped(fill)
        );
    }

    pub(super) fn frame(&mut self, area: Area) {
        let Area { x, y, w, h } = area;
        let _ = writeln!(
            self.0,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="3" fill="{SURFACE}" stroke="{EDGE}"/>"#
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str) {
        let _ = writeln!(
            self.0,
            r#"<path d="M{:.1} {:.1}L{:.1} {:.1}" stroke="{stroke}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    /// A line through points; with `floor`, what is below it is filled faintly.
    pub(super) fn curve(&mut self, points: &[(f64, f64)], stroke: &str, floor: Option<f64>) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let path = points.iter().fold(String::new(), |mut path, (x, y)| {
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
            path
        });
        if let Some(floor) = floor {
            let _ = writeln!(
                self.0,
                r#"<path d="{path}L{:.1} {floor:.1}L{:.1} {floor:.1}Z" fill="{stroke}" fill-opacity="0.1"/>"#,
                last.0, first.0
            );
        }
        let _ = writeln!(self.0, r#"<path d="{path}" fill="none" stroke="{stroke}" stroke-width="1.5"/>"#);
    }

    /// A text that is cut where it would be wider than `room`.
    pub(super) fn text(&mut self, at: (f64, f64), text: &str, style: Style<'_>, room: f64) {
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if style.bold { r#" font-weight="600""# } else { "" };
        let _ = writeln!(
            self.0,
            r#"<text x="{:.1}" y="{:.1}" font-size="{:.1}" fill="{}" text-anchor="{anchor}"{weight}>{}</text>"#,
            at.0,
            at.1,
            style.size,
            style.fill,
            escaped(&fitting(text, style.size, if style.bold { room / BOLD } else { room }))
        );
    }

    /// The whole file.
    pub(super) fn page(self, width: f64, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"{FONT}\" role=\"img\">\n<title>{}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"{PAGE}\"/>\n{}</svg>\n",
            escaped(title),
            self.0
        )
    }
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    pub(super) size: f64,
    pub(super) fill: &'a str,
    pub(super) anchor: Anchor,
    pub(super) bold: bool,
}

/// Plain text of this size.
pub(super) const fn plain(size: f64, fill: &str, anchor: Anchor) -> Style<'_> {
    Style { size, fill, anchor, bold: false }
}

/// How much wider a bold text is.
pub(super) const BOLD: f64 = 1.12;

/// How wide a text is at most: by the widest of the fonts that are asked for, DejaVu Sans.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '!' | '\'' | ' ' => 0.34,
            'f' | 't' | 'r' | '-' | '(' | ')' | '/' | 'I' => 0.42,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 1.0,
            'A'..='Z' => 0.76,
            letter if letter.is_ascii() => 0.64,
            _ => 1.0,
        })
        .sum();
    ems * size
}

/// The text, or its beginning and an ellipsis.
fn fitting(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut cut = String::new();
    for letter in text.chars() {
        cut.push(letter);
        if width(&cut, size) + size > room {
            cut.pop();
            break;
        }
    }
    if cut.is_empty() { cut } else { format!("{}…", cut.trim_end()) }
}

/// As text or an attribute's value in XML; control characters are not allowed there in any form.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{escaped, fitting, width};

    #[test]
    fn a_text_is_cut_to_its_room() {
        for (text, room, want) in
            [("short", 100.0, "short"), ("much too long", 40.0, "much…"), ("x", 3.0, "")]
        {
            let got = fitting(text, 10.0, room);
            assert!(width(&got, 10.0) <= room, "{text}");
            assert_eq!(got, want);
        }
    }

    #[test]
    fn a_name_cannot_leave_its_element() {
        assert_eq!(escaped("a</text><script>\"\u{1b}&"), "a&lt;/text&gt;&lt;script&gt;&quot;\u{fffd}&amp;");
    }
}
