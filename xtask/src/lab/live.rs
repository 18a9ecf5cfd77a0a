//! The machine of `cargo xtask run`, checked from this side: the scrape that a user's Prometheus would make.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape;
use anyhow::{Context, Result, ensure};

use super::console::Outcome;
use super::qemu::Stop;
use super::rig::{Reach, Rig};
use super::suite::LIVE;
use crate::setup;
use crate::vm::Tally;

/// How long the first violations may take once the agent is ready.
const LIMIT: Duration = Duration::from_secs(30);

/// Boots, scrapes through the forwarded port until both modes have been counted, asks promtool, ends it.
pub(crate) fn play(kernel: &str) -> Result<Tally> {
    let rig = Rig::ready(kernel)?;
    let port = free_port()?;
    let stop = Stop::default();
    let mut checker = None;
    let reach = Reach { port: Some(port), limit: Some(LIVE.limit), ..Reach::default() };
    let outcome = rig.boot(&LIVE, &reach, &stop, &mut |_, line| {
        if let Some(Line::Ready(path)) = line {
            let (path, stop) = (path.clone(), stop.clone());
            checker = Some(thread::spawn(move || {
                let result = watch(port, &path);
                stop.store(true, Ordering::Relaxed);
                result
            }));
        }
        Ok(())
    })?;
    let Some(checker) = checker else {
        let why = match outcome {
            Outcome::Stalled(why) | Outcome::Broken(why) => why,
            Outcome::Finished { .. } => "a check failed".into(),
        };
        anyhow::bail!("the agent was never ready: {why}; the console is in {}", rig.logs(&LIVE).display());
    };
    let text = checker.join().map_err(|_| anyhow::anyhow!("the scraping thread panicked"))??;
    promtool(text.as_bytes())?;
    Ok(Tally { passed: 1, failed: 0 })
}

/// Scrapes until the counters show a refused and a permitted violation.
fn watch(port: u16, path: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let start = Instant::now();
    loop {
        let (status, text) = scrape::get(address, path)?;
        ensure!(status == 200, "{path} answers {status}");
        let samples = scrape::parse(&text)?;
        let [denied, allowed] =
            ["denied", "allowed"].map(|v| scrape::sum(&samples, "apparmor_events_total", &[("verdict", v)]));
        if denied > 0 && allowed > 0 {
            return Ok(text);
        }
        ensure!(start.elapsed() < LIMIT, "after {} s: denied {denied}, allowed {allowed}", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(200));
    }
}

/// Lets promtool judge a scrape.
pub(crate) fn promtool(text: &[u8]) -> Result<()> {
    let promtool = setup::promtool()?;
    let mut child = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", promtool.display()))?;
    child.stdin.take().context("promtool has no input")?.write_all(text).context("writing to promtool")?;
    let end = child.wait_with_output().context("waiting for promtool")?;
    let said = [end.stdout, end.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(end.status.success() && said.trim().is_empty(), "promtool check metrics: {}", said.trim());
    Ok(())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
