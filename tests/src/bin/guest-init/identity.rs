//! Scenario `identity`: denials in containers of every layout, each of which must be told as that container's
//! whatever became of it.
//!
//! Each container reads a file that no other reads, so that the name in an event says whose it is, and what
//! the agent says can be held against it event by event.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::scrape::{self, Sample};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::{self, Agent, keep};
use crate::confined::{self, until_confined};
use crate::console::Report;
use crate::counters::{equal, settle};
use crate::oci::{self, Oci};

mod alone;

/// Denials of a container.
const TIMES: u64 = 3;
/// Processes that exit at once, each with one denial.
const SWARM: u64 = 10_000;
/// Cgroups of containers that come and go, each with two denials.
const STORM: usize = 500;
/// Denials of each of two containers while process ids are used again.
const REUSE: u64 = 600;
const END_LIMIT: Duration = Duration::from_secs(20);

/// How a container's cgroup is laid out: `{pod}` with dashes, `{_}` with underscores, `{id}`.
const LAYOUTS: [(&str, &str, &str, bool); 6] = [
    ("cgroupfs", "runc", "/kubepods/burstable/pod{pod}/{id}", true),
    (
        "systemd",
        "runc",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/cri-containerd-{id}.scope",
        true,
    ),
    ("guaranteed", "runc", "/kubepods.slice/kubepods-pod{_}.slice/crio-{id}.scope", true),
    ("crun", "crun", "/kubepods/besteffort/pod{pod}/{id}", true),
    ("docker", "runc", "/docker/{id}", false),
    ("kind", "runc", "/docker/{node}/kubelet/kubepods/besteffort/pod{pod}/{id}", true),
];
const NODE: &str = "feedfeedfeedfeedfeedfeedfeedfeedfeedfeedfeedfeedfeedfeedfeedfeed";

/// Whose an event must be.
#[derive(Clone, Debug, Default)]
struct Want {
    container: Option<String>,
    pod: Option<String>,
    times: u64,
}

/// What is to be told, by the file that was read.
#[derive(Debug, Default)]
struct Wants {
    by_file: BTreeMap<String, Want>,
    made: u64,
}

impl Wants {
    /// A new container: its id, its pod's UID and its file.
    fn container(&mut self, in_pod: bool, times: u64) -> Result<(String, String, String)> {
        // UIDs whose last digits are alike.
        let pod = format!("{:08x}-2a4b-4c5d-9e6f-7a8b9c0d1e2f", self.made + 1);
        let (id, file) = self.one_of(in_pod.then_some(&*pod), times)?;
        Ok((id, pod, file))
    }

    /// A new container of this pod: its id and its file.
    fn one_of(&mut self, pod: Option<&str>, times: u64) -> Result<(String, String)> {
        self.made += 1;
        let number = self.made;
        let id = id_of(number);
        let file = format!("/lab/for/{number}");
        fs::create_dir_all("/lab/for")?;
        fs::write(&file, "not for everyone\n").context("writing a file to be denied")?;
        let want = Want { container: Some(id.clone()), pod: pod.map(str::to_owned), times };
        self.by_file.insert(file.clone(), want);
        Ok((id, file))
    }

    /// The container of this file is denied it that many times.
    fn expect(&mut self, file: &str, times: u64) -> Result<()> {
        self.by_file.get_mut(file).context("a file of a container")?.times = times;
        Ok(())
    }

    fn total(&self) -> u64 {
        self.by_file.values().map(|want| want.times).sum()
    }
}

/// Plays the scenario.
pub(crate) fn play(report: &mut Report, source: &str) -> Result<()> {
    let exact = source != "audit";
    let mut wants = Wants::default();
    // Older than the agent.
    let (id, pod, old_file) = wants.container(true, TIMES)?;
    let old_cgroup = path(LAYOUTS[0].2, &id, &pod);
    let old = Oci { runtime: "runc", name: "old", cgroup: &old_cgroup };
    old.create(ENFORCE, &old_file, &["--times", "3", "open", &old_file])?;

    let mut agent = Agent::start(source)?;
    agent.wait_ready()?;
    agent.wait_sources([exact, true])?;
    report.check("a container that is older than the agent runs", old.finish());
    let alone = alone::play(report, &mut wants);
    for (name, runtime, layout, in_pod) in LAYOUTS {
        report.check(&format!("container {name} runs"), container(&mut wants, name, runtime, layout, in_pod));
    }
    report.check("a container restarts and dies", restarted(&mut wants));
    report.check("nested cgroups", nested(&mut wants));
    report.check("a process of the host", host(&mut wants));
    let signals = signals(&mut wants);
    let pids = signals.as_ref().ok().copied();
    report.check("signals and a trace are denied by the victim", signals.map(drop));
    let killed = runc_kill(&mut wants);
    let stays = killed.as_ref().ok().copied();
    report.check("runc kill is denied by the victim", killed.map(drop));
    report.check("containers come and go", storm(&mut wants));
    report.check("processes exit at once", swarm(&mut wants));
    report.check("process ids are used again", reuse(&mut wants));

    let (text, samples) = settle(wants.total() + SIGNALS)?;
    keep("metrics.prom", &text);
    let (status, _) = agent.terminate(END_LIMIT)?;
    ensure!(status.success(), "the agent ended: {status}");
    let events = fs::read_to_string(agent::EVENTS).context("reading the agent's events")?;
    let events: Vec<Value> =
        events.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("reading an event")?;
    keep("events.json", &some(&events));
    judge(report, &wants, &events, exact);
    report.check("a profile tells its only container", alone.and_then(|alone| alone.judge(&events, exact)));
    if let (Some([victim, sender]), Some(stays)) = (pids, stays) {
        report.check("victims and senders", judge_signals(&events, [victim, sender, stays], exact));
    }
    report.check("the agent's own numbers", judge_metrics(&samples, &events, exact));
    Agent::say_log();
    Ok(())
}

/// Ids whose first digits are alike.
fn id_of(number: u64) -> String {
    format!("{:0>48}{number:016x}", "c0ffee")
}

fn path(layout: &str, id: &str, pod: &str) -> String {
    layout
        .replace("{pod}", pod)
        .replace("{_}", &pod.replace('-', "_"))
        .replace("{id}", id)
        .replace("{node}", NODE)
}

fn container(wants: &mut Wants, name: &str, runtime: &str, layout: &str, in_pod: bool) -> Result<()> {
    let (id, pod, file) = wants.container(in_pod, TIMES)?;
    let cgroup = path(layout, &id, &pod);
    let container = Oci { runtime, name, cgroup: &cgroup };
    container.create(ENFORCE, &file, &["--times", "3", "open", &file])?;
    container.finish()
}

/// A container dies, and another takes its place in the pod; it dies, too.
fn restarted(wants: &mut Wants) -> Result<()> {
    let (first, pod, file) = wants.container(true, TIMES)?;
    let (second, second_file) = wants.one_of(Some(&pod), TIMES)?;
    for (id, file) in [(first, file), (second, second_file)] {
        let cgroup = path(LAYOUTS[0].2, &id, &pod);
        let container = Oci { runtime: "runc", name: "restarted", cgroup: &cgroup };
        container.create(ENFORCE, &file, &["--times", "3", "open", &file])?;
        container.finish()?;
    }
    Ok(())
}

/// What a container makes below its own cgroup is its own.
fn nested(wants: &mut Wants) -> Result<()> {
    let (id, pod, file) = wants.container(true, TIMES)?;
    let folder = oci::make(&format!("{}/system.slice/inner.service", path(LAYOUTS[1].2, &id, &pod)))?;
    oci::run_in(&folder, ENFORCE, &["--times", "3", "open", &file])
}

fn host(wants: &mut Wants) -> Result<()> {
    let file = "/lab/secret".to_owned();
    let words = ["--times", "3", "open", &file].map(str::to_owned);
    confined::provoke(ENFORCE, &words)?;
    wants.by_file.insert(file, Want { times: TIMES, ..Want::default() });
    Ok(())
}

/// Records of the acts below: the host's signal (`receive`), the container's signal and trace, each by both
/// sides (`send`, `receive`, `trace`, `tracedby`), and the runtime's signal (`receive`).
const SIGNALS: u64 = 1 + 2 + 2 + 1;

/// A container that nobody may signal or trace, and two who try. Numbers of the containers.
fn signals(wants: &mut Wants) -> Result<[u64; 2]> {
    let (id, pod, _) = wants.container(true, 0)?;
    let victim = wants.made;
    let folder = oci::make(&path(LAYOUTS[0].2, &id, &pod))?;
    let mut child = oci::start_in(&folder, ENFORCE, &["pause", "3600"])?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    until_confined(child.id(), ENFORCE)?;
    ensure!(kill(pid, Signal::SIGUSR1).is_err(), "the victim let itself be signalled");
    let (id, pod, _) = wants.container(true, 0)?;
    let sender = wants.made;
    let from = oci::make(&path(LAYOUTS[1].2, &id, &pod))?;
    for act in ["signal", "ptrace"] {
        oci::run_in(&from, ENFORCE, &[act, &pid.to_string()])?;
    }
    if end_all(&folder)? {
        child.wait()?;
    }
    Ok([victim, sender])
}

/// The runtime itself is not let through by the profile of the container that it shall stop: the commonest
/// denial of this kind. The number of the container.
fn runc_kill(wants: &mut Wants) -> Result<u64> {
    let (id, pod, file) = wants.container(true, 0)?;
    let number = wants.made;
    let cgroup = path(LAYOUTS[0].2, &id, &pod);
    let container = Oci { runtime: "runc", name: "stays", cgroup: &cgroup };
    container.create(ENFORCE, &file, &["pause", "3600"])?;
    container.call(&["start", container.name])?;
    until_confined(container.pid()?, ENFORCE)?;
    ensure!(container.call(&["kill", container.name, "TERM"]).is_err(), "runc could end the container");
    end_all(&oci::cgroups().join(cgroup.trim_start_matches('/')))?;
    Ok(number)
}

/// Ends a cgroup's processes: the kernel's own signal is not mediated, and no other would reach them. Cgroup v1
/// cannot (`false`); there they end with the machine.
fn end_all(folder: &Path) -> Result<bool> {
    let end = folder.join("cgroup.kill");
    let can = end.exists();
    if can {
        fs::write(end, "1").with_context(|| format!("ending {}", folder.display()))?;
    }
    Ok(can)
}

/// Cgroups of containers are made and removed while their processes are denied; some are gone before their
/// events are read.
fn storm(wants: &mut Wants) -> Result<()> {
    for (_, _, layout, _) in LAYOUTS.iter().take(3).cycle().take(STORM) {
        let (id, pod, file) = wants.container(true, 2)?;
        let folder = oci::make(&path(layout, &id, &pod))?;
        oci::run_in(&folder, ENFORCE, &["--times", "2", "open", &file])?;
        oci::remove(&folder)?;
    }
    Ok(())
}

fn swarm(wants: &mut Wants) -> Result<()> {
    let (id, pod, file) = wants.container(true, SWARM)?;
    let folder = oci::make(&path(LAYOUTS[0].2, &id, &pod))?;
    oci::run_in(&folder, ENFORCE, &["swarm", &SWARM.to_string(), &file])?;
    oci::remove(&folder)
}

/// Two containers take turns with so few process ids that each one's are soon the other's.
fn reuse(wants: &mut Wants) -> Result<()> {
    const PID_MAX: &str = "/proc/sys/kernel/pid_max";
    /// Denials a turn.
    const TURN: u64 = 20;
    let before = fs::read_to_string(PID_MAX)?;
    let mut pair = Vec::new();
    for _ in 0..2 {
        let (id, pod, file) = wants.container(true, REUSE)?;
        pair.push((oci::make(&path(LAYOUTS[1].2, &id, &pod))?, file));
    }
    fs::write(PID_MAX, "420").context("lowering pid_max")?;
    let played = (0..REUSE / TURN).try_for_each(|_| {
        pair.iter()
            .try_for_each(|(folder, file)| oci::run_in(folder, ENFORCE, &["swarm", &TURN.to_string(), file]))
    });
    fs::write(PID_MAX, before.trim()).context("raising pid_max")?;
    played
}

/// Event by event: nobody else's, and with eBPF all of them.
fn judge(report: &mut Report, wants: &Wants, events: &[Value], exact: bool) {
    let mut right: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut wrong, mut untold, mut first) = (0_u64, 0_u64, None);
    for event in events {
        let Some((file, want)) = event["name"].as_str().and_then(|name| wants.by_file.get_key_value(name))
        else {
            continue;
        };
        let told = [inner(event, "container", "id"), inner(event, "pod", "uid")];
        if event["identified_by"] == "unknown" {
            untold += 1;
        } else if told == [want.container.as_deref(), want.pod.as_deref()] {
            *right.entry(file).or_default() += 1;
        } else {
            wrong += 1;
            first.get_or_insert_with(|| format!("want {want:?}, got {event}"));
        }
    }
    let none_wrong = (wrong == 0).then_some(());
    report.check(
        "no event is told as another's",
        none_wrong.with_context(|| format!("{wrong}, the first: {first:?}")),
    );
    let attributed: u64 = right.values().sum();
    agent_summary(attributed, untold);
    if exact {
        report.check("every event is told whose it is", equal(wants.total(), attributed));
        let differ = wants
            .by_file
            .iter()
            .find(|(file, want)| right.get(file.as_str()).copied().unwrap_or(0) != want.times);
        let same = differ.is_none().then_some(());
        report.check("each container has its own number", same.with_context(|| format!("{differ:?}")));
    } else {
        let more = wants
            .by_file
            .iter()
            .find(|(file, want)| right.get(file.as_str()).copied().unwrap_or(0) > want.times);
        let fewer = more.is_none().then_some(());
        report.check("no container has more than its number", fewer.with_context(|| format!("{more:?}")));
    }
}

fn agent_summary(attributed: u64, untold: u64) {
    keep("identity.txt", &format!("{attributed} events told whose, {untold} not told"));
}

fn judge_signals(events: &[Value], numbers: [u64; 3], exact: bool) -> Result<()> {
    let [victim, sender, stays] = numbers.map(id_of);
    let [victim, sender, stays] = [&victim, &sender, &stays].map(|id| Some(id.as_str()));
    let mut want: Vec<(&str, Option<&str>, Option<&str>)> = vec![
        ("receive", victim, None),
        ("receive", stays, None),
        ("receive", victim, sender),
        ("send", sender, victim),
        ("trace", sender, victim),
        ("tracedby", victim, sender),
    ];
    let mut got: Vec<_> = events
        .iter()
        .filter(|event| event["class"] == "signal" || event["class"] == "ptrace")
        .map(|event| {
            let id = |key: &str| inner(event, key, "id");
            (event["denied_mask"].as_str().unwrap_or_default(), id("container"), id("peer_container"))
        })
        .collect();
    want.sort_unstable();
    got.sort_unstable();
    if exact {
        ensure!(got == want, "want {want:?}, got {got:?}");
        return Ok(());
    }
    // A record of the audit stream does not tell the other process; what is told must be true.
    for row in &got {
        let (mask, subject, peer) = *row;
        let right = want.iter().any(|(known, container, other)| {
            *known == mask
                && (subject.is_none() || subject == *container)
                && (peer.is_none() || peer == *other)
        });
        ensure!(right, "{row:?} is none of {want:?}");
    }
    equal(SIGNALS, got.len() as u64)
}

/// The counters say what the events say.
fn judge_metrics(samples: &[Sample], events: &[Value], exact: bool) -> Result<()> {
    const HOW: &str = "aa_monitor_identity_resolutions_total";
    const UNATTRIBUTED: &str = "aa_monitor_events_unattributed_total";
    for how in ["cgroup", "proc", "profile", "host", "unknown"] {
        let told = events.iter().filter(|event| event["identified_by"] == how).count() as u64;
        let counted = scrape::sum(samples, HOW, &[("how", how)]);
        ensure!(told == counted, "{how}: {told} events, {counted} counted");
    }
    let unknown = scrape::sum(samples, HOW, &[("how", "unknown")]);
    equal(unknown, scrape::sum(samples, UNATTRIBUTED, &[]))?;
    if exact {
        equal(0, unknown)?;
        equal(0, scrape::sum(samples, "aa_monitor_identity_missed_total", &[]))?;
    }
    Ok(())
}

/// The text at `event.key.member`.
fn inner<'a>(event: &'a Value, key: &str, member: &str) -> Option<&'a str> {
    event.get(key)?.get(member)?.as_str()
}

/// Enough of the events to see what they look like.
fn some(events: &[Value]) -> String {
    let ends = events.iter().take(60).chain(events.iter().rev().take(5));
    let signals = events.iter().filter(|event| event["class"] == "signal" || event["class"] == "ptrace");
    let untold = events.iter().filter(|event| event["identified_by"] == "unknown").take(20);
    ends.chain(signals).chain(untold).map(|event| format!("{event}\n")).collect()
}
