//! What the agent's counters say.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::Key;
use aa_monitor_tests::scrape::{Sample, sum, whole};
use anyhow::{Result, ensure};

use crate::agent;

pub(crate) const EVENTS: &str = "apparmor_events_total";
pub(crate) const RECEIVED: &str = "aa_monitor_events_received_total";
pub(crate) const LOST: &str = "aa_monitor_events_lost_total";

/// How long the last violation may take to be counted.
const COUNT_LIMIT: Duration = Duration::from_secs(20);
/// How long the counters must stand still before they are read: what is counted twice is counted late.
const STILL: Duration = Duration::from_millis(1500);

/// Scrapes until `total` events are counted and nothing moves any more.
pub(crate) fn settle(total: u64) -> Result<(String, Vec<Sample>)> {
    let start = Instant::now();
    let mut still_since = Instant::now();
    let mut last = Vec::new();
    loop {
        let (text, samples) = agent::metrics()?;
        let moving = |sample: &&Sample| [EVENTS, RECEIVED, LOST].contains(&&*sample.name);
        let now: Vec<Sample> = samples.iter().filter(moving).cloned().collect();
        if now != last {
            still_since = Instant::now();
            last = now;
        }
        let complete = sum(&samples, EVENTS, &[]) >= total || start.elapsed() > COUNT_LIMIT;
        if complete && still_since.elapsed() > STILL {
            return Ok((text, samples));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The series of the events' counter that are not 0.
pub(crate) fn counted(samples: &[Sample]) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name == EVENTS && sample.value > 0.0) {
        let label = |name| sample.label(name).to_owned();
        let key = Key {
            verdict: label("verdict"),
            class: label("class"),
            operation: label("operation"),
            profile: label("profile"),
        };
        *counts.entry(key).or_insert(0) += whole(sample.value);
    }
    counts
}

/// Fails with every key whose number is not the wanted one.
pub(crate) fn compare(want: &BTreeMap<Key, u64>, got: &BTreeMap<Key, u64>) -> Result<()> {
    let keys: BTreeSet<&Key> = want.keys().chain(got.keys()).collect();
    let number = |counts: &BTreeMap<Key, u64>, key| counts.get(key).copied().unwrap_or(0);
    let differences: Vec<String> = keys
        .into_iter()
        .filter(|key| number(want, key) != number(got, key))
        .map(|key| {
            let Key { verdict, class, operation, profile } = key;
            let (want, got) = (number(want, key), number(got, key));
            format!("{verdict} {class} {operation} {profile}: want {want}, got {got}")
        })
        .collect();
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

/// Fails when two numbers differ.
pub(crate) fn equal(want: u64, got: u64) -> Result<()> {
    ensure!(want == got, "want {want}, got {got}");
    Ok(())
}
