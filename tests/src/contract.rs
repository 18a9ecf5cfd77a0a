//! The serial console's contract between the guest and `cargo xtask vm`.
//!
//! One line a check and one final verdict. The console carries the kernel's own messages too, so a line
//! counts only when it starts with one of the words below, and a guest that never says its verdict failed.

use std::fmt;

/// Kernel parameter that names what the guest shall do.
pub const SCENARIO: &str = "aa_lab.scenario";
/// Kernel parameter with the agent's `--source`.
pub const SOURCE: &str = "aa_lab.source";
/// Kernel parameter with the version of cgroups: `v1`, otherwise v2.
pub const CGROUPS: &str = "aa_lab.cgroups";
/// Kernel parameter with the width of the reader's terminal; absent when the reader is not a terminal.
pub const COLUMNS: &str = "aa_lab.columns";

/// What the image's archive may weigh, in MiB: what a node has to fetch.
pub const IMAGE_LIMIT: u32 = 14;

/// One line of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `check <name>: ok` or `check <name>: FAIL <detail>`.
    Check {
        /// What was checked.
        name: String,
        /// Nothing when it holds, otherwise what was found.
        failure: Option<String>,
    },
    /// `verdict: N passed, N failed`: the guest is done.
    Verdict {
        /// Checks that hold.
        passed: u32,
        /// Checks that do not.
        failed: u32,
    },
    /// `ready: <what>`: the guest has reached the state that the scenario is about.
    Ready(String),
    /// `summary: <text>`: a line for the reader at the end.
    Summary(String),
    /// `file <name>: <text>`: one line of a file that the host keeps.
    File {
        /// The file's name, without a folder.
        name: String,
        /// The line.
        text: String,
    },
}

impl Line {
    /// Reads one line of the console; `None` for everything that is not part of the contract.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(rest) = line.strip_prefix("check ") {
            let (name, result) = rest.split_once(": ")?;
            let failure = match result {
                "ok" => None,
                _ => Some(result.strip_prefix("FAIL ")?.to_owned()),
            };
            return Some(Self::Check { name: name.to_owned(), failure });
        }
        if let Some(rest) = line.strip_prefix("verdict: ") {
            let (passed, failed) = rest.strip_suffix(" failed")?.split_once(" passed, ")?;
            return Some(Self::Verdict { passed: passed.parse().ok()?, failed: failed.parse().ok()? });
        }
        if let Some(rest) = line.strip_prefix("ready: ") {
            return Some(Self::Ready(rest.to_owned()));
        }
        if let Some(rest) = line.strip_prefix("summary: ") {
            return Some(Self::Summary(rest.to_owned()));
        }
        let (name, text) = line.strip_prefix("file ")?.split_once(": ")?;
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        (plain && !name.starts_with('.')).then(|| Self::File { name: name.to_owned(), text: text.to_owned() })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { name, failure: None } => write!(f, "check {name}: ok"),
            Self::Check { name, failure: Some(detail) } => write!(f, "check {name}: FAIL {detail}"),
            Self::Verdict { passed, failed } => write!(f, "verdict: {passed} passed, {failed} failed"),
            Self::Ready(what) => write!(f, "ready: {what}"),
            Self::Summary(text) => write!(f, "summary: {text}"),
            Self::File { name, text } => write!(f, "file {name}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn every_line_reads_back() {
        let lines = [
            Line::Check { name: "boot both".into(), failure: None },
            Line::Check { name: "lost".into(), failure: Some("want 0, got: 3".into()) },
            Line::Verdict { passed: 12, failed: 1 },
            Line::Ready("http://10.0.2.15:9464/metrics".into()),
            Line::Summary("denied   file   3".into()),
            Line::File { name: "metrics.prom".into(), text: "# HELP a b: c".into() },
            Line::File { name: "metrics.prom".into(), text: String::new() },
        ];
        for line in lines {
            assert_eq!(Line::parse(&format!("{line}\r\n")), Some(line.clone()), "{line}");
        }
    }

    #[test]
    fn noise_is_not_contract() {
        let rows = [
            ("kernel message", "[    1.234567] audit: type=1400 audit(1.2:3): apparmor=\"DENIED\""),
            ("check without result", "check smoke"),
            ("check with another word", "check smoke: maybe"),
            ("verdict cut short", "verdict: 3 passed, 1 fai"),
            ("verdict without numbers", "verdict: x passed, y failed"),
            ("file that leaves its folder", "file ../../etc/passwd: x"),
            ("hidden file", "file .bashrc: x"),
            ("empty", ""),
        ];
        for (name, line) in rows {
            assert_eq!(Line::parse(line), None, "{name}");
        }
    }
}
