//! The text of an Event: what happened, harmless and short enough for the API server.

use std::fmt::Write;

use super::subject::Reason;
use crate::output::detail::detail;
use crate::output::escape::escape;
use crate::record::Violation;

/// The API server refuses a longer `note` (`NoteLengthLimit`, pkg/apis/core/validation/events.go).
pub(super) const LIMIT: usize = 1024;

/// A name in a note; the object of a violation may take what is left.
const NAME_LIMIT: usize = 256;

const ELLIPSIS: &str = "…";

/// What a violation's Event says: its first example.
pub(super) fn of_violation(reason: Reason, profile: &str, violation: &Violation<'_>) -> String {
    let done = match reason {
        Reason::Killed => "killed a process at",
        Reason::WouldDeny => "would deny",
        _ => "denied",
    };
    let mut text = format!(
        "AppArmor profile \"{profile}\" {done} {} {}",
        violation.class,
        escape(violation.operation, NAME_LIMIT)
    );
    // Writing to a String cannot fail.
    let object = detail(violation);
    if !object.is_empty() {
        let _ = write!(text, ": {object}");
    }
    if let Some(comm) = violation.comm {
        let _ = write!(text, ", by \"{}\"", escape(comm, NAME_LIMIT));
    }
    if let Some(pid) = violation.pid {
        let _ = write!(text, " (pid {pid})");
    }
    text
}

/// `text` with what was not told before it, cut so that both fit; what was not told is never cut away.
pub(super) fn finish(text: &str, untold: u64) -> String {
    let ending = match untold {
        0 => String::new(),
        1 => ". 1 other AppArmor event of this pod was not told (limit)".to_owned(),
        _ => format!(". {untold} other AppArmor events of this pod were not told (limit)"),
    };
    let mut note = cut(text, LIMIT.saturating_sub(ending.len()));
    note.push_str(&ending);
    note
}

/// At most `limit` bytes of `text`, an ellipsis in them when something is missing.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Class, Origin, Verdict};

    #[test]
    fn a_note_says_what_a_rule_would_be_about() {
        let base = Violation::new(Verdict::Denied, Class::File, Origin::Ebpf, b"open");
        for (name, reason, violation, want) in [
            (
                "file",
                Reason::Denied,
                Violation {
                    name: Some(b"/etc/shadow"),
                    denied_mask: Some(b"r"),
                    comm: Some(b"cat"),
                    pid: Some(7),
                    ..base.clone()
                },
                r#"AppArmor profile "web" denied file open: /etc/shadow r, by "cat" (pid 7)"#,
            ),
            (
                "nothing known",
                Reason::WouldDeny,
                base.clone(),
                r#"AppArmor profile "web" would deny file open"#,
            ),
            (
                "hostile comm",
                Reason::Killed,
                Violation { comm: Some(b"\x1b[2J\n"), ..base.clone() },
                r#"AppArmor profile "web" killed a process at file open, by "\x1b[2J\x0a""#,
            ),
        ] {
            assert_eq!(of_violation(reason, "web", &violation), want, "{name}");
        }
    }

    #[test]
    fn a_note_fits_and_keeps_its_end() {
        for (name, text, untold) in [
            ("letters", "x".repeat(5000), 3),
            ("two bytes each", "é".repeat(3000), 1),
            ("four bytes each", "😀".repeat(2000), u64::MAX),
            ("at the limit", "x".repeat(LIMIT), 0),
            ("one past it", "x".repeat(LIMIT + 1), 0),
        ] {
            let note = finish(&text, untold);
            assert!(note.len() <= LIMIT, "{name}: {}", note.len());
            assert!(note.len() > LIMIT - 8, "{name}: {}", note.len());
            assert_eq!(note.contains("not told"), untold > 0, "{name}");
            assert_eq!(note.contains(ELLIPSIS), text.len() > LIMIT || untold > 0, "{name}");
        }
    }
}
