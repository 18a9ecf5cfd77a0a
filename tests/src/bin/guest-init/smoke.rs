//! Scenario `smoke`: the fixed list of violations is in the agent's counters, exactly.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use aa_monitor_tests::acts::{self, Act, ENFORCE, Key};
use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Context, Result, ensure};

use crate::agent::{self, Agent, keep};
use crate::confined;
use crate::console::{Report, say};
use crate::counters::{EVENTS, LOST, RECEIVED, compare, counted, equal, settle};
use crate::kernel_log::KernelLog;
use crate::machine;
use crate::records::LATE;
use crate::victim::Victim;

const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Every verdict and class has a series of the node's counter from the start.
const VERDICTS: usize = 7;
const CLASSES: usize = 17;

/// Plays the scenario with the agent's sources `auto`, `ebpf` or `audit`.
pub(crate) fn play(report: &mut Report, source: &str) -> Result<()> {
    let victim = Victim::start()?;
    let mut log = KernelLog::open()?;
    let mut agent = Agent::start(source)?;
    let auditing = machine::auditing()?;
    let (ebpf, audit) = (source != "audit", source != "ebpf" && auditing);
    let ready = agent.wait_ready();
    let failed = ready.is_err();
    report.check("the agent becomes ready", ready);
    report.check("the sources that can work do", agent.wait_sources([ebpf, audit]));
    if failed {
        Agent::say_log();
        return Ok(());
    }
    log.records()?;
    if !auditing {
        let line = ["source=audit", "this kernel has no audit (booted with audit=0", "boot with audit=1"];
        report.check("it says why there is no audit", Agent::has_said(&line));
    }

    let acts: Vec<Act> = acts::all().into_iter().filter(machine::supported).collect();
    report.check("profiles enforce and complain", perform(&acts, &victim));
    let mut want = acts::counts(&acts);
    for (how, operation) in acts::POLICY {
        confined::change_policy(how, LATE)?;
        want.insert(policy(operation), 1);
    }
    let total: u64 = want.values().sum();

    let (text, samples) = settle(total)?;
    keep("metrics.prom", &text);
    report.check("every violation is counted once", compare(&want, &counted(&samples)));
    report.check("the node's counters are the sums", node(&want, &samples));
    let received = |up: bool| if up { total } else { 0 };
    report.check("eBPF received them", equal(received(ebpf), sum(&samples, RECEIVED, &[("source", "ebpf")])));
    report.check(
        "audit received them",
        equal(received(audit), sum(&samples, RECEIVED, &[("source", "audit")])),
    );
    report.check("nothing is lost", equal(0, sum(&samples, LOST, &[])));
    report.check("every hook is attached", hooks(&samples, ebpf));
    if auditing {
        report.check("the kernel log agrees", log.records().and_then(|r| equal(total, r.len() as u64)));
    }
    report.check("the last event's time is now", recent(&samples));
    report.check("/livez answers", agent::get("/livez").and_then(|(status, _)| equal(200, status.into())));
    report.check("SIGTERM ends it with 0 in time", stop(&mut agent));
    report.check("every event is a line of JSON", lines(total));
    Agent::say_log();
    summarise(&want, &samples);
    Ok(())
}

/// Two functions for violations, three for victims and two tracepoints for cgroups, on every kernel of the lab.
const HOOKS: usize = 7;

/// Every hook is attached when there is eBPF, and there is none otherwise.
/// All of them by trampolines, which each of the lab's kernels has: a program that the verifier refuses must not pass
/// because a kprobe has taken its place.
fn hooks(samples: &[Sample], ebpf: bool) -> Result<()> {
    let hooks: Vec<&Sample> =
        samples.iter().filter(|sample| sample.name == "aa_monitor_hook_attached").collect();
    let fits = |hook: &&&Sample| hook.value >= 1.0 && hook.label("how") != "kprobe";
    let loose: Vec<_> = hooks.iter().filter(|hook| !fits(hook)).collect();
    ensure!(loose.is_empty(), "not attached, or in a second-best way: {loose:?}");
    equal(if ebpf { HOOKS } else { 0 } as u64, hooks.len() as u64)
}

const NODE_EVENTS: &str = "apparmor_node_events_total";
const LAST: &str = "apparmor_last_event_timestamp_seconds";

/// The record about a change of `late.profiles`.
fn policy(operation: &str) -> Key {
    Key {
        verdict: "status".into(),
        class: "policy".into(),
        operation: operation.into(),
        profile: "unconfined".into(),
    }
}

/// Performs the acts, and sees that an enforcing profile refused and a complaining one did not.
fn perform(acts: &[Act], victim: &Victim) -> Result<()> {
    let mut surprises = Vec::new();
    for act in acts {
        let arguments = victim.arguments(act);
        let end = confined::provoke(act.profile, &arguments)?;
        let as_wanted = match act.verdict {
            "killed" => end.status.code().is_none(),
            "denied" => end.status.code() == Some(1),
            _ => end.status.code() == Some(0),
        };
        if !as_wanted {
            let said = String::from_utf8_lossy(&end.stdout).trim().replace('\n', ", ");
            surprises.push(format!(
                "{} under {}: {said} ({})",
                act.provoke.join(" "),
                act.profile,
                end.status
            ));
        }
    }
    ensure!(surprises.is_empty(), "{}", surprises.join("; "));
    Ok(())
}

fn node(want: &BTreeMap<Key, u64>, samples: &[Sample]) -> Result<()> {
    let series = samples.iter().filter(|sample| sample.name == NODE_EVENTS).count();
    ensure!(series == VERDICTS * CLASSES, "want {} series, got {series}", VERDICTS * CLASSES);
    let mut sums = BTreeMap::new();
    for (Key { verdict, class, .. }, count) in want {
        *sums.entry((verdict.as_str(), class.as_str())).or_insert(0) += count;
    }
    for ((verdict, class), want) in &sums {
        let got = sum(samples, NODE_EVENTS, &[("verdict", verdict), ("class", class)]);
        ensure!(got == *want, "{verdict} {class}: want {want}, got {got}");
    }
    equal(sums.values().sum(), sum(samples, NODE_EVENTS, &[]))
}

fn recent(samples: &[Sample]) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let seen: Vec<&Sample> = samples
        .iter()
        .filter(|s| s.name == LAST && s.label("profile") == ENFORCE && s.label("verdict") == "denied")
        .collect();
    ensure!(!seen.is_empty(), "no {LAST} for {ENFORCE}");
    let age = seen.iter().map(|sample| now - sample.value).fold(f64::INFINITY, f64::min);
    ensure!((-1.0..120.0).contains(&age), "it is {age:.1} s ago");
    Ok(())
}

fn stop(agent: &mut Agent) -> Result<()> {
    let (status, _) = agent.terminate(STOP_LIMIT)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn lines(total: u64) -> Result<()> {
    let text = fs::read_to_string(agent::EVENTS).with_context(|| format!("reading {}", agent::EVENTS))?;
    let objects = text.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count();
    equal(text.lines().count() as u64, objects as u64)?;
    keep("events.json", &text);
    equal(total, objects as u64)
}

/// A table for the reader: what was provoked, by verdict and class.
fn summarise(want: &BTreeMap<Key, u64>, samples: &[Sample]) {
    let mut rows: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (Key { verdict, class, .. }, count) in want {
        *rows.entry((verdict, class)).or_insert(0) += count;
    }
    let summary = |text: String| say(&Line::Summary(text));
    summary(format!("{:<8} {:<15} {:>8} {:>8}", "verdict", "class", "provoked", "counted"));
    for ((verdict, class), provoked) in rows {
        let counted = sum(samples, EVENTS, &[("verdict", verdict), ("class", class)]);
        summary(format!("{verdict:<8} {class:<15} {provoked:>8} {counted:>8}"));
    }
    let received = |source| sum(samples, RECEIVED, &[("source", source)]);
    let verdicts = |verdict| sum(samples, EVENTS, &[("verdict", verdict)]);
    let classes: std::collections::BTreeSet<String> =
        counted(samples).into_keys().map(|key| key.class).collect();
    summary(format!(
        "denied {}, allowed {}, in {} classes",
        verdicts("denied"),
        verdicts("allowed"),
        classes.len()
    ));
    summary(format!(
        "{} violations; counted {}; received by eBPF {}, by audit {}; lost {}",
        want.values().sum::<u64>(),
        sum(samples, EVENTS, &[]),
        received("ebpf"),
        received("audit"),
        sum(samples, LOST, &[]),
    ));
}
