//! What `tail` and `status` tell of silent denials is what is counted.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Key, differs, key};
use crate::agent::keep;
use crate::console::Report;

/// Checks them against the counts.
pub(super) fn check(report: &mut Report, want: &BTreeMap<Key, u64>) {
    report.check("tail tells each, with its reason", tail(want));
    report.check("tail tells none of them as an event", no_events());
    report.check("status tells each, with its reason", status(want));
}

fn tail(want: &BTreeMap<Key, u64>) -> Result<()> {
    let text = ask(&["tail", "--no-follow", "--last", "1000", "--json", "--verdict", "silent"])?;
    keep("tail.json", &text);
    let mut got = BTreeMap::new();
    for line in text.lines() {
        let told: Value = serde_json::from_str(line).context("a line of tail")?;
        let word = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
        let count = told.get("count").and_then(Value::as_u64).context("no count")?;
        *got.entry(key(word("class"), word("profile"), word("reason"))).or_insert(0) += count;
    }
    differs(want, &got)?;
    let shown = ask(&["tail", "--no-follow", "--last", "1000", "--verdict", "silent"])?;
    keep("tail.txt", &shown);
    for (_, _, reason) in want.keys() {
        ensure!(shown.contains(&format!("[{reason}, ")), "no line says {reason}");
    }
    Ok(())
}

fn no_events() -> Result<()> {
    let text = ask(&["tail", "--no-follow", "--last", "1000", "--json", "--verdict", "denied"])?;
    let silent = text.lines().filter(|line| line.contains("\"reason\":")).count();
    ensure!(silent == 0 && !text.is_empty(), "{silent} of {} lines", text.lines().count());
    Ok(())
}

fn status(want: &BTreeMap<Key, u64>) -> Result<()> {
    let text = ask(&["status", "--json"])?;
    keep("status.json", &text);
    let status: Value = serde_json::from_str(&text).context("what status tells")?;
    let rows = status.get("silent").and_then(Value::as_array).context("no silent denials")?;
    let mut got = BTreeMap::new();
    for row in rows {
        let word = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let count = row.get("count").and_then(Value::as_u64).context("no count")?;
        *got.entry(key(word("class"), word("profile"), word("reason"))).or_insert(0) += count;
    }
    differs(want, &got)?;
    let table = ask(&["status"])?;
    keep("status.txt", &table);
    for (_, _, reason) in want.keys() {
        ensure!(table.contains(reason.as_str()), "no line says {reason}");
    }
    Ok(())
}

fn ask(arguments: &[&str]) -> Result<String> {
    let end = Command::new("/bin/aa-monitor").args(arguments).output().context("starting aa-monitor")?;
    ensure!(
        end.status.success(),
        "{}: {}: {}",
        arguments.join(" "),
        end.status,
        String::from_utf8_lossy(&end.stderr)
    );
    String::from_utf8(end.stdout).context("no text")
}
