//! Evidence out of logs: one piece for each kind of violation.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;

use crate::capture::file::{open, read_to_end};
use crate::merge::{Event, SeenBy};
use crate::output::history::evidence::{Evidence, RECORD_LIMIT, Seen, of_event};
use crate::record::{Log, Origin, ParseError, Senders, Violation};

/// Kinds of violations that are told apart. The largest profile has some thousand rules.
const KINDS: usize = 100_000;

/// An answer of another node is not larger.
const JSON_LIMIT: u64 = 256 << 20;

/// Which violations are taken.
#[derive(Clone, Debug, Default)]
pub struct Only {
    /// Not before this, in nanoseconds since the epoch.
    pub since: Option<u64>,
    /// Of pods of these names (`*` and `?` stand for any), if any.
    pub pods: Vec<wildmatch::WildMatch>,
    /// Of pods in these Kubernetes namespaces, if any.
    pub namespaces: Vec<wildmatch::WildMatch>,
}

impl Only {
    fn passes(&self, seen: &Seen) -> bool {
        let of_pod = |pod: &String| {
            let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
            (self.pods.is_empty() || self.pods.iter().any(|pattern| pattern.matches(name)))
                && (self.namespaces.is_empty()
                    || self.namespaces.iter().any(|pattern| pattern.matches(namespace)))
        };
        self.since.is_none_or(|since| seen.last == 0 || seen.last >= since)
            && (self.pods.is_empty() && self.namespaces.is_empty() || seen.pods.iter().any(of_pod))
    }
}

/// Evidence in the making.
#[derive(Debug, Default)]
pub struct Collection {
    only: Only,
    kinds: HashMap<String, Seen>,
    /// Violations of kinds that there was no room for.
    left_out: u64,
    /// Records that could not be read.
    malformed: u64,
}

impl Collection {
    /// Takes what `only` lets pass.
    pub fn new(only: Only) -> Self {
        Self { only, ..Self::default() }
    }

    /// Takes in a piece of evidence.
    pub fn add(&mut self, evidence: Evidence) {
        if evidence.record.len() > RECORD_LIMIT || !self.only.passes(&evidence.seen) {
            return;
        }
        if let Some(seen) = self.kinds.get_mut(&evidence.record) {
            seen.add(&evidence.seen);
        } else if self.kinds.len() < KINDS {
            self.kinds.insert(evidence.record, evidence.seen);
        } else {
            self.left_out += evidence.seen.count;
        }
    }

    /// Reads a log in any framing; `-` is standard input.
    pub fn read_log(&mut self, path: &Path) -> anyhow::Result<()> {
        let what = || format!("cannot read {}", path.display());
        let mut input = open(path).with_context(what)?;
        let mut log = Log::new(Origin::File, Senders::by_program());
        let mut each = |_: &[u8], result: Result<&Violation<'_>, ParseError>| match result {
            Ok(violation) => {
                if let Some(evidence) = of_event(&Event::unresolved(violation, SeenBy::default())) {
                    self.add(evidence);
                }
            }
            Err(ParseError::Malformed(_)) => self.malformed += 1,
            Err(ParseError::NotAppArmor | ParseError::Untrusted) => {}
        };
        let done = read_to_end(&mut *input, |piece| {
            log.feed(piece, &mut each);
            true
        });
        log.finish(&mut each);
        done.with_context(what)
    }

    /// Reads what `suggest --format json` wrote, here or on another node.
    pub fn read_json(&mut self, path: &Path) -> anyhow::Result<()> {
        #[derive(serde::Deserialize)]
        struct Document {
            evidence: Vec<Evidence>,
        }
        let what =
            || format!("cannot read {}: it has to be what suggest --format json writes", path.display());
        let length = std::fs::metadata(path).with_context(what)?.len();
        anyhow::ensure!(length <= JSON_LIMIT, "{} is larger than 256MiB", path.display());
        let text = std::fs::read(path).with_context(what)?;
        let document: Document = serde_json::from_slice(&text).with_context(what)?;
        for evidence in document.evidence {
            self.add(evidence);
        }
        Ok(())
    }

    /// The evidence, in an order that does not change from run to run, and what was left out of it.
    pub fn finish(self) -> (Vec<Evidence>, Vec<String>) {
        let mut all: Vec<_> =
            self.kinds.into_iter().map(|(record, seen)| Evidence { record, seen }).collect();
        all.sort_by(|a, b| a.record.cmp(&b.record));
        let mut remarks = Vec::new();
        if self.left_out > 0 {
            remarks.push(format!(
                "{} violations are left out: there are more than {KINDS} kinds; choose a profile, pod or time",
                self.left_out
            ));
        }
        if self.malformed > 0 {
            remarks.push(format!(
                "{} malformed records are left out; `aa-monitor replay` shows the first",
                self.malformed
            ));
        }
        (all, remarks)
    }
}
