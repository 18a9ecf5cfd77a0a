//! Scenario `faults`: the least that each setting allows, and a state directory that cannot be written. Nothing
//! dies, and what is counted and what is named as lost is what was provoked.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount, umount};

use crate::agent::{self, Agent, keep};
use crate::auditd;
use crate::confined;
use crate::console::{Report, say};
use crate::counters::{EVENTS, LOST, RECEIVED, equal, settle};

/// Violations of one fault: more than any of the small rooms holds.
const PROCESSES: u64 = 4;
const TIMES: u64 = 1_000;
const STORM: u64 = PROCESSES * TIMES;
/// For what does not depend on how many there are.
const FEW: u64 = 50;
const STOP_LIMIT: Duration = Duration::from_secs(5);

const STATE: &str = "/tmp/faulty";
const STATE_FAILED: &str = "aa_monitor_state_failures_total";
const HISTORY_FAILED: &str = "aa_monitor_history_failures_total";
const AUDIT_READABLE: &str = "aa_monitor_audit_status_readable";
const BACKLOG_LIMIT: &str = "aa_monitor_audit_backlog_limit";

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    fs::create_dir_all(STATE)?;
    small_ring(report)?;
    small_buffer(report)?;
    short_backlog(report)?;
    short_queue(report)?;
    read_only_state(report)?;
    full_state(report)?;
    no_btf(report)?;
    Agent::say_log();
    Ok(())
}

/// A ring of one page.
fn small_ring(report: &mut Report) -> Result<()> {
    let samples = with(&["--ring-size", "4KiB"], "auto", STORM, "ring")?;
    report.check("ring of a page, counted and named as lost is provoked", sum_of_ebpf(STORM, &samples));
    let lost = lost(&samples, "ebpf", "capture", "");
    report.check("ring of a page, it lost some", some(lost));
    summarise("ring of 4 KiB", &samples);
    Ok(())
}

/// A netlink buffer that holds a record or two.
fn small_buffer(report: &mut Report) -> Result<()> {
    let samples = with(&["--netlink-buffer", "4KiB"], "audit", STORM, "netlink")?;
    report.check("netlink buffer of 4 KiB, counted and named as lost is provoked", sum_of_audit(&samples));
    report.check(
        "netlink buffer of 4 KiB, it lost some",
        some(lost(&samples, "audit", "capture", "socket_full")),
    );
    summarise("netlink buffer of 4 KiB", &samples);
    Ok(())
}

/// The kernel's audit loses what its own queue has no room for, and tells how much by `AUDIT_GET`.
fn short_backlog(report: &mut Report) -> Result<()> {
    const LIMIT: u64 = 3;
    set_backlog(LIMIT)?;
    let samples = with(&[], "audit", STORM, "backlog")?;
    report.check("audit's own number may be read", equal(1, sum(&samples, AUDIT_READABLE, &[])));
    report.check("audit's limit is told", equal(LIMIT, sum(&samples, BACKLOG_LIMIT, &[])));
    report.check("audit backlog of 3, counted and named as lost is provoked", sum_of_audit(&samples));
    report.check("audit backlog of 3, it lost some", some(lost(&samples, "audit", "kernel", "lost")));
    summarise("audit backlog of 3", &samples);
    set_backlog(8_192)
}

/// A queue for one record, of each source.
fn short_queue(report: &mut Report) -> Result<()> {
    let samples = with(&["--queue-length", "1"], "auto", STORM, "queue")?;
    report.check("queue of 1, counted and named as lost is provoked", sum_of_ebpf(STORM, &samples));
    summarise("queue of 1", &samples);
    let samples = with(&["--queue-length", "1"], "audit", STORM, "queue-audit")?;
    report.check("queue of 1, audit alone, counted and named as lost is provoked", sum_of_audit(&samples));
    summarise("queue of 1, audit alone", &samples);
    Ok(())
}

/// A state directory that is there and can be read.
fn read_only_state(report: &mut Report) -> Result<()> {
    mount(Some("tmpfs"), STATE, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>).context("mounting")?;
    let samples = with(&["--state-dir", STATE], "auto", FEW, "read-only")?;
    umount(STATE)?;
    report.check("read-only state, every violation is counted", equal(FEW, sum(&samples, EVENTS, &[])));
    report.check("read-only state, no event is lost", equal(0, sum(&samples, LOST, &[])));
    for what in ["lock", "journal"] {
        let failed = sum(&samples, STATE_FAILED, &[("what", what)]);
        report.check(&format!("read-only state, the {what} is told to have failed"), some(failed));
    }
    report.check("read-only state, so is the history", some(sum(&samples, HISTORY_FAILED, &[])));
    Ok(())
}

/// A state directory on a full disk, on which the events are to be printed too.
fn full_state(report: &mut Report) -> Result<()> {
    const EVENTS_FILE: &str = "/tmp/faulty/events.json";
    mount(Some("tmpfs"), STATE, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).context("mounting")?;
    fill(&format!("{STATE}/filler"))?;
    let mut agent = Agent::start_printing_to(EVENTS_FILE, "auto", &["--state-dir", STATE])?;
    let samples = provoked(&mut agent, [true, true], FEW, "full")?;
    let printed = fs::read_to_string(EVENTS_FILE).context("reading the events")?.lines().count() as u64;
    drop(agent);
    umount(STATE)?;
    report.check("full disk, every violation is counted", equal(FEW, sum(&samples, EVENTS, &[])));
    let unprinted =
        lost(&samples, "ebpf", "output", "write_failed") + lost(&samples, "audit", "output", "write_failed");
    report.check("full disk, each line is printed or named as lost", equal(FEW, printed + unprinted));
    report.check("full disk, some are lost", some(unprinted));
    report.check("full disk, nothing else is", equal(unprinted, sum(&samples, LOST, &[])));
    report.check("full disk, the history is told to have failed", some(sum(&samples, HISTORY_FAILED, &[])));
    let journal = sum(&samples, STATE_FAILED, &[("what", "journal")]);
    report.check("full disk, so is the journal", some(journal));
    Ok(())
}

/// A kernel that does not describe its structures, as far as the agent can see.
fn no_btf(report: &mut Report) -> Result<()> {
    const BTF: &str = "/sys/kernel/btf";
    mount(Some("tmpfs"), BTF, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("hiding BTF")?;
    let mut agent = Agent::start_as("/bin/aa-monitor", "auto", &["--state-dir", "/tmp/state-btf"])?;
    let samples = provoked(&mut agent, [false, true], FEW, "btf")?;
    umount(BTF)?;
    let line = ["source=ebpf", "/sys/kernel/btf/vmlinux", "the kernel needs CONFIG_DEBUG_INFO_BTF"];
    report.check("without BTF, it says what the kernel needs", Agent::has_said(&line));
    report.check("without BTF, audit's are counted", equal(FEW, sum(&samples, EVENTS, &[])));
    Ok(())
}

/// Runs an agent through a storm; what it says at the end.
fn with(arguments: &[&str], source: &str, times: u64, name: &str) -> Result<Vec<Sample>> {
    // A state directory of its own: what the one before has lost is not to be read from the kernel's log.
    let state = format!("/tmp/state-{name}");
    let own = if arguments.contains(&"--state-dir") { vec![] } else { vec!["--state-dir", &state] };
    let mut agent = Agent::start_as("/bin/aa-monitor", source, &[arguments, &own].concat())?;
    provoked(&mut agent, [source != "audit", true], times, name)
}

/// Provokes, and lets the agent end in its own time.
fn provoked(agent: &mut Agent, sources: [bool; 2], times: u64, name: &str) -> Result<Vec<Sample>> {
    agent.wait_ready()?;
    agent.wait_sources(sources)?;
    let (processes, each) = if times == STORM { (PROCESSES, TIMES) } else { (1, times) };
    let spec = format!("{processes}x{each}");
    let end = confined::provoke(ENFORCE, &["storm".into(), "/lab/secret".into(), spec])?;
    ensure!(end.status.code() == Some(1), "provoke ended with {}", end.status);
    agent.still_runs()?;
    // Its thread is slow where it prints to a serial console, and the next agent would get what it still has.
    while auditd::status("backlog")? > 0 {
        thread::sleep(Duration::from_millis(100));
    }
    let (text, samples) = settle(times)?;
    keep(&format!("metrics-{name}.prom"), &text);
    equal(200, agent::get("/livez")?.0.into())?;
    let (status, _) = agent.terminate(STOP_LIMIT)?;
    ensure!(status.success(), "the agent ended: {status}");
    // What stays attached would write to this agent's ring, and the next one would count it.
    let end = Command::new("/bin/aa-monitor").arg("detach").output()?;
    ensure!(end.status.success(), "detach: {}", String::from_utf8_lossy(&end.stderr));
    Ok(samples)
}

/// docs/metrics.md, "The sum".
fn sum_of_ebpf(provoked: u64, samples: &[Sample]) -> Result<()> {
    let lost_by_ebpf = lost(samples, "ebpf", "capture", "") + lost(samples, "ebpf", "record", "");
    let counted = sum(samples, EVENTS, &[]);
    equal(provoked, counted + lost_by_ebpf - lost(samples, "ebpf", "merge", "missed"))?;
    equal(provoked, sum(samples, RECEIVED, &[("source", "ebpf")]) + lost_by_ebpf)
}

/// The same with the audit stream alone.
fn sum_of_audit(samples: &[Sample]) -> Result<()> {
    let lost = ["kernel", "capture", "record"].map(|stage| lost(samples, "audit", stage, ""));
    let counted = sum(samples, EVENTS, &[]);
    equal(counted, sum(samples, RECEIVED, &[("source", "audit")]))?;
    equal(STORM, counted + lost.iter().sum::<u64>())
}

/// What is lost at a stage, for one reason or for any.
fn lost(samples: &[Sample], source: &str, stage: &str, reason: &str) -> u64 {
    let labels = [("source", source), ("stage", stage), ("reason", reason)];
    sum(samples, LOST, if reason.is_empty() { &labels[..2] } else { &labels })
}

fn some(number: u64) -> Result<()> {
    ensure!(number > 0, "none");
    Ok(())
}

fn set_backlog(limit: u64) -> Result<()> {
    let end = Command::new("/sbin/auditctl").args(["-b", &limit.to_string()]).output()?;
    ensure!(end.status.success(), "auditctl -b: {}", String::from_utf8_lossy(&end.stderr));
    equal(limit, auditd::status("backlog_limit")?)
}

/// Writes until nothing more fits.
fn fill(path: &str) -> Result<()> {
    let mut file = fs::File::create(path)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

fn summarise(what: &str, samples: &[Sample]) {
    let lost: Vec<String> = samples
        .iter()
        .filter(|sample| sample.name == LOST && sample.value > 0.0)
        .map(|sample| {
            let label = |name| sample.label(name);
            format!("{} {} {} {}", label("source"), label("stage"), label("reason"), sample.value)
        })
        .collect();
    let counted = sum(samples, EVENTS, &[]);
    say(&Line::Summary(format!("{what}: counted {counted} of {STORM}; {}", lost.join(", "))));
}
