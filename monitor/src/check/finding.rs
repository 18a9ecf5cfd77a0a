//! What is found out, and how it is told.

use std::fmt::Write as _;

use serde::Serialize;

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// The agent does without, and loses something.
    Warn,
    /// The agent cannot do what it was asked for.
    Fail,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a word that stays the same from version to version.
    pub check: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// The way out, where there is one to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, message: message.into(), advice: None }
    }

    pub(super) fn bad(
        check: &'static str,
        status: Status,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, status, message: message.into(), advice: Some(advice.into()) }
    }

    pub(super) fn warn(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::bad(check, Status::Warn, message, advice)
    }

    pub(super) fn fail(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::bad(check, Status::Fail, message, advice)
    }
}

/// Everything that was found out.
#[derive(Clone, Debug)]
pub struct Report(pub Vec<Finding>);

impl Report {
    /// The worst of it; `Ok` when nothing was looked at.
    pub fn status(&self) -> Status {
        self.0.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok)
    }

    /// For people: a line each, and the way out below what is not well.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for Finding { check, status, message, advice } in &self.0 {
            let _ = writeln!(text, "{:<4}  {check:<14}  {}", status.as_str(), printable(message));
            if let Some(advice) = advice {
                let _ = writeln!(text, "{:22}-> {}", "", printable(advice));
            }
        }
        text
    }

    /// For programs: one object.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let all = serde_json::json!({ "status": self.status(), "checks": self.0 });
        Ok(format!("{}\n", serde_json::to_string_pretty(&all)?))
    }
}

/// A server's or a file's words stay on their line, and move no terminal.
fn printable(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_reports_status() {
        let [ok, warn, fail] =
            [Finding::ok("a", ""), Finding::warn("b", "", "do this"), Finding::fail("c", "", "do that")];
        for (name, findings, want) in [
            ("nothing", vec![], Status::Ok),
            ("good", vec![ok.clone()], Status::Ok),
            ("less", vec![ok.clone(), warn.clone(), ok.clone()], Status::Warn),
            ("bad", vec![fail, warn, ok], Status::Fail),
        ] {
            assert_eq!(Report(findings).status(), want, "{name}");
        }
    }

    #[test]
    fn a_line_is_a_line_whatever_a_server_says() {
        let report = Report(vec![Finding::warn("api", "it said: \u{1b}[2Jno\nok    all", "ask\nsomebody")]);
        let text = report.to_text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("warn  api             it said:  [2Jno ok") && !text.contains('\u{1b}'));
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!(json.pointer("/checks/0/status"), Some(&"warn".into()));
        assert_eq!(json.pointer("/status"), Some(&"warn".into()));
    }
}
