//! Asks Prometheus everything that the dashboards ask, about a shop in the lab.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::expressions::{Ask, filled};
use super::servers::Servers;
use crate::lab::live;
use crate::lab::qemu::Stop;
use crate::lab::rig::{Reach, Rig};
use crate::lab::suite::SHOP;
use crate::observe;
use crate::pictures::Answers;

/// Seconds between two points of a graph.
const STEP: u64 = 2;
const ASK: Ask = Ask { interval: "15s", range: "4m", quiet: "60" };
/// How often it is said that the watching goes on.
const TOLD: u64 = 30;

/// Boots the shop, watches it for so long and returns the answers.
pub(crate) fn answers(kernel: &str, watch: Duration) -> Result<Answers> {
    let rig = Rig::ready(kernel)?;
    let port = live::free_port()?;
    let stop = Stop::default();
    let mut observer = None;
    let reach = Reach { port: Some(port), limit: Some(SHOP.limit + watch), ..Reach::default() };
    let label = rig.label(&SHOP);
    println!("  {label}: booting, then watching for {} s", watch.as_secs());
    rig.boot(&SHOP, &reach, &stop, &mut |_, line| {
        if let Some(Line::Ready(_)) = line {
            let stop = stop.clone();
            observer = Some(thread::spawn(move || {
                let answers = watched(port, watch);
                stop.store(true, Ordering::Relaxed);
                answers
            }));
        }
        Ok(())
    })?;
    let observer =
        observer.with_context(|| format!("the agent was never ready; see {}", rig.logs(&SHOP).display()))?;
    observer.join().map_err(|_| anyhow!("the observing thread panicked"))?
}

fn watched(port: u16, watch: Duration) -> Result<Answers> {
    let servers = Servers::start(port, "worker-1")?;
    let start = Instant::now();
    while start.elapsed() < watch {
        thread::sleep(Duration::from_secs(TOLD).min(watch));
        println!("  watched for {} s", start.elapsed().as_secs());
    }
    let to = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    // The first scrapes have no rate yet.
    let from = to - watch.as_secs() / STEP * STEP + STEP * 5;
    let mut dashboards = BTreeMap::new();
    for path in observe::files("", ".json")? {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let panels = dashboard["panels"].as_array().context("a dashboard without panels")?;
        let panels = panels.iter().map(|panel| of_panel(&servers, &dashboard, panel, from, to));
        let uid = dashboard["uid"].as_str().context("a dashboard without uid")?.to_owned();
        dashboards.insert(uid, panels.collect::<Result<_>>()?);
    }
    let some = dashboards.values().flatten().flatten().any(|result: &Value| result[0] != Value::Null);
    ensure!(some, "Prometheus has no data at all");
    Ok(Answers { from, to, step: STEP, dashboards })
}

fn of_panel(servers: &Servers, dashboard: &Value, panel: &Value, from: u64, to: u64) -> Result<Vec<Value>> {
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets
        .map(|target| {
            let text = filled(dashboard, target, ASK)?;
            if target["instant"] == true { servers.now(&text) } else { servers.over(&text, from, to, STEP) }
        })
        .collect()
}
