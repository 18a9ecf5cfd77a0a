//! What makes other numbers of the same code.

use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::place;
use crate::step::Step;

/// Where numbers were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Circumstances {
    /// What `rustc --version` says.
    pub(crate) rustc: String,
    /// Whether the processor has AVX2: memchr and the C library choose by it at run time. The parser's own vectors
    /// are SSE2, whatever the processor has.
    pub(crate) avx2: bool,
}

impl Circumstances {
    /// Those of this machine.
    pub(crate) fn here() -> Result<Self> {
        let step = Step { name: "asking for the compiler's version", way_out: "install Rust" };
        let rustc = step
            .run(Command::new("rustc").arg("--version").current_dir(place::workspace()))?
            .trim()
            .to_owned();
        #[cfg(target_arch = "x86_64")]
        let avx2 = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = false;
        Ok(Self { rustc, avx2 })
    }

    /// Why numbers of these circumstances and of others are not held against each other closely: a line each.
    pub(crate) fn differ(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.rustc != now.rustc {
            lines.push(format!("the baseline is of {}, and this is {}", self.rustc, now.rustc));
        }
        if self.avx2 != now.avx2 {
            let has = |avx2| if avx2 { "with" } else { "without" };
            let (before, now) = (has(self.avx2), has(now.avx2));
            lines.push(format!("the baseline is of a processor {before} AVX2, and this is one {now}"));
        }
        if !lines.is_empty() {
            let wide = "so a quarter more was let pass; `cargo xtask guard --renew` on the commit before yours makes \
                        the comparison a close one";
            lines.push(wide.to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::Circumstances;

    #[test]
    fn what_differs_is_said() {
        let of = |rustc: &str, avx2| Circumstances { rustc: rustc.to_owned(), avx2 };
        for (name, now, want) in [
            ("the same", of("rustc 1.95.0", true), vec![]),
            ("another compiler", of("rustc 1.96.0", true), vec!["this is rustc 1.96.0", "a quarter more"]),
            ("another processor", of("rustc 1.95.0", false), vec!["this is one without", "a quarter more"]),
        ] {
            let lines = of("rustc 1.95.0", true).differ(&now);
            assert_eq!(lines.len(), want.len(), "{name}: {lines:?}");
            assert!(lines.iter().zip(want).all(|(line, part)| line.contains(part)), "{name}: {lines:?}");
        }
    }
}
