//! Suite `sre`: Prometheus and Alertmanager on this side scrape the agent in the lab while violations go on.
//! Every expression of every dashboard and rule is executed; alerts must arrive where a person would get them.

mod ask;
mod expressions;
mod servers;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape;
use anyhow::{Context, Result, ensure};

pub(crate) use self::ask::answers;
use self::expressions::{Expression, Kind};
use self::servers::Servers;
use super::live;
use super::qemu::Stop;
use super::rig::{self, Reach, Rig};
use super::suite::SRE;
use crate::vm::{Tally, Tell};
use crate::{place, step};

/// How long the violations of the workload may take to be in every panel.
const DATA_LIMIT: Duration = Duration::from_secs(75);
/// How long Prometheus, which evaluates each second, may take to tell Alertmanager.
const ALERT_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// What the workload must raise; nothing else may fire while it runs.
const RAISED: [&str; 4] =
    ["AppArmorDenied", "AppArmorDeniedNewWorkload", "AppArmorKilled", "AppArmorWouldDeny"];
/// What the end of the agent must raise.
const AT_THE_END: &str = "AppArmorMonitorDown";
/// Beside the console's log.
const EXERCISED: &str = "exercised.txt";

/// Checks, told as they are made.
struct Report {
    label: String,
    tell: Tell,
    tally: Tally,
    /// How many expressions had data, of how many that were executed.
    expressions: (usize, usize),
    /// How many alerts arrived.
    alerts: usize,
}

impl Report {
    fn check(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.tally.passed += 1,
            Err(_) => self.tally.failed += 1,
        }
        match result {
            Ok(()) if self.tell == Tell::Failures => {}
            Ok(()) => println!("  {} | {name}: ok", self.label),
            Err(error) => println!("  {} | {name}: FAIL {error:#}", self.label),
        }
    }
}

/// What the last play on a kernel exercised, in words; an error where it did not get so far.
pub(crate) fn exercised(kernel: &str) -> Result<String> {
    let path = rig::logs(kernel, &SRE).join(EXERCISED);
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Boots, observes, ends the machine and observes that.
pub(crate) fn play(kernel: &str, tell: Tell) -> Result<Tally> {
    let rig = Rig::ready(kernel)?;
    let port = live::free_port()?;
    let stop = Stop::default();
    let mut observer = None;
    // What an earlier play has left must not be taken for this one's.
    let told = rig.logs(&SRE).join(EXERCISED);
    let _ = std::fs::remove_file(&told);
    let reach = Reach { port: Some(port), limit: Some(SRE.limit), ..Reach::default() };
    let label = rig.label(&SRE);
    let start = Instant::now();
    if tell == Tell::Everything {
        println!("  {label}: booting (limit {} s)", SRE.limit.as_secs());
    }
    rig.boot(&SRE, &reach, &stop, &mut |_, line| {
        if let Some(Line::Ready(path)) = line {
            let (path, stop, label) = (path.clone(), stop.clone(), label.clone());
            observer = Some(thread::spawn(move || {
                let mut report =
                    Report { label, tell, tally: Tally::default(), expressions: (0, 0), alerts: 0 };
                let servers = observe(port, &path, &mut report);
                stop.store(true, Ordering::Relaxed);
                servers.map(|servers| (servers, report))
            }));
        }
        Ok(())
    })?;
    let observer =
        observer.with_context(|| format!("the agent was never ready; see {}", rig.logs(&SRE).display()))?;
    let (servers, mut report) =
        observer.join().map_err(|_| anyhow::anyhow!("the observing thread panicked"))??;
    let ended = wait_for(ALERT_LIMIT, || {
        let firing = servers.firing()?;
        ensure!(firing.contains(AT_THE_END), "Alertmanager has {firing:?}");
        Ok(())
    });
    report.alerts += usize::from(ended.is_ok());
    report.check(&format!("{AT_THE_END} arrives when the agent is gone"), ended);
    let (data, all) = report.expressions;
    let words = format!(
        "{all} expressions of dashboards and rules executed, {data} with data; {} alerts at Alertmanager",
        report.alerts
    );
    step::write(&told, &words)?;
    let Tally { passed, failed } = report.tally;
    println!("  {label}: {passed} passed, {failed} failed ({} s)", start.elapsed().as_secs());
    Ok(report.tally)
}

/// Everything that can be seen while the agent runs.
fn observe(port: u16, path: &str, report: &mut Report) -> Result<Servers> {
    let servers = Servers::start(port, "lab")?;
    report.check("promtool accepts the live scrape", check_scrape(port, path));
    report.check("every rule is evaluated", wait_for(DATA_LIMIT, || servers.rules_are_well().map(drop)));
    let expressions = expressions::all(&servers)?;
    let mut empty = Vec::new();
    let data = wait_for(DATA_LIMIT, || {
        empty = without_data(&servers, &expressions)?;
        let missing: Vec<_> = empty.iter().filter(|expression| expression.excuse().is_none()).collect();
        let told: Vec<_> = missing.iter().map(|e| format!("{}: {}", e.place, e.text)).collect();
        ensure!(
            missing.is_empty(),
            "{} without data, first: {}",
            missing.len(),
            told.first().map_or("", |t| t)
        );
        Ok(())
    });
    let name = format!(
        "{} expressions are executed, {} have data, {} are excused",
        expressions.len(),
        expressions.len() - empty.len(),
        empty.iter().filter(|expression| expression.excuse().is_some()).count()
    );
    report.expressions = (expressions.len() - empty.len(), expressions.len());
    report.check(&name, data);
    report.check("every excuse is needed", excuses_are_needed(&empty));
    if report.tell == Tell::Everything {
        for expression in &empty {
            println!("    empty: {} ({})", expression.place, expression.excuse().unwrap_or("not excused"));
        }
    }
    for alert in RAISED {
        let arrived = wait_for(ALERT_LIMIT, || {
            let firing = servers.firing()?;
            ensure!(firing.contains(alert), "Alertmanager has {firing:?}");
            Ok(())
        });
        report.alerts += usize::from(arrived.is_ok());
        report.check(&format!("{alert} arrives at Alertmanager"), arrived);
    }
    let others: BTreeSet<_> =
        servers.firing()?.into_iter().filter(|alert| !RAISED.contains(&alert.as_str())).collect();
    let result = if others.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{others:?}")) };
    report.check("no other alert fires", result);
    Ok(servers)
}

/// Executes each; those whose result is empty are returned.
fn without_data(servers: &Servers, expressions: &[Expression]) -> Result<Vec<Expression>> {
    let mut empty = Vec::new();
    for expression in expressions {
        let has = match expression.kind {
            Kind::Instant => servers.has_data(&expression.text),
            Kind::Range => servers.has_data_within_a_minute(&expression.text),
        };
        if !has.with_context(|| format!("{}: {}", expression.place, expression.text))? {
            empty.push(expression.clone());
        }
    }
    Ok(empty)
}

/// An excuse for what has data would hide the day on which it has none.
fn excuses_are_needed(empty: &[Expression]) -> Result<()> {
    for (fragment, why) in expressions::EXCUSED {
        let needed = empty.iter().any(|expression| expression.text.contains(fragment));
        ensure!(needed, "{fragment} ({why}) has data: take it off the list");
    }
    Ok(())
}

/// promtool's word, and that docs/metrics.md has all that is served.
fn check_scrape(port: u16, path: &str) -> Result<()> {
    let (status, text) = scrape::get(servers::local(port), path)?;
    ensure!(status == 200, "{path} answers {status}");
    live::promtool(text.as_bytes())?;
    let page =
        std::fs::read_to_string(place::workspace().join("docs/metrics.md")).context("docs/metrics.md")?;
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        ensure!(page.contains(&format!("| `{name}` |")), "{name} is served and not in docs/metrics.md");
    }
    Ok(())
}

/// Tries until it holds, for as long as it may take; the last failure otherwise.
fn wait_for(limit: Duration, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        let result = attempt();
        if result.is_ok() || start.elapsed() > limit {
            return result.with_context(|| format!("within {} s", limit.as_secs()));
        }
        thread::sleep(PAUSE);
    }
}
