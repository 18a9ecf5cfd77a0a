//! Saying things on the serial console.

use std::fmt::Display;
use std::io::Write;

use aa_monitor_tests::contract::Line;
use anyhow::Result;

/// Writes one line.
pub(crate) fn say(line: &(impl Display + ?Sized)) {
    // One write a line, so that the kernel's own messages do not land inside it. There is nobody to tell
    // when the console fails; the host takes silence for failure.
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

/// Counts the checks and says each.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Says how a check ended.
    pub(crate) fn check(&mut self, name: &str, result: Result<()>) {
        let failure = result.err().map(|error| format!("{error:#}").replace('\n', " | "));
        match failure {
            None => self.passed += 1,
            Some(_) => self.failed += 1,
        }
        say(&Line::Check { name: name.to_owned(), failure });
    }

    /// Says the last word.
    pub(crate) fn verdict(&self) {
        say(&Line::Verdict { passed: self.passed, failed: self.failed });
    }
}
