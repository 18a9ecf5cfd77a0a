//! Scenario `denials`: what containers of pods are denied, in the counters, in JSON and in Kubernetes Events, each
//! exactly, while the API server is away, refuses, and has already forgotten the pod.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::{COMPLAIN, ENFORCE};
use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Resource, Verb};
use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::agent::{self, Agent, Chart, keep};
use crate::console::Report;
use crate::counters::{self, equal, settle};
use crate::kernel_log::KernelLog;
use crate::oci::{self, Oci};

const NODE: &str = "lab";
const END_LIMIT: Duration = Duration::from_secs(20);
/// How long the agent may take to ask an API server again that was away, on an emulated machine.
const BACK_LIMIT: Duration = Duration::from_secs(120);
const FILE: &str = "/lab/for/nobody";

/// A container: its pod, its name, and the digit that its id is made of.
type Container = (&'static str, &'static str, char);
const APP: Container = ("web-7d4b9c-x2x4z", "app", 'a');
/// In the same pod and under the same profile.
const SIDE: Container = ("web-7d4b9c-x2x4z", "side", 'b');
const LEARN: Container = ("learn-0", "learn", 'c');
const GONE: Container = ("gone", "gone", 'd');
const NOISY: Container = ("noisy", "noisy", 'e');

/// An Event each: more of them than a pod may have at once.
const NOISES: [&[&str]; 7] = [
    &["open", "/lab/secret"],
    &["chmod", "/lab/secret"],
    &["exec", "/lab/not-a-program"],
    &["inet_dgram"],
    &["unix"],
    &["pivot_root", "/lab/granted"],
    &["rlimit", "2048"],
];
/// Events that a pod may have at once.
const POD_BURST: u64 = 5;

/// Denials in each container while its pod's name is not known, and after.
const UNNAMED: u64 = 3;
/// The counter's series: namespace, workload, pod, container, verdict; and how many there must be.
const NAMED: [([&str; 5], u64); 5] = [
    (["shop", "web", APP.0, "app", "denied"], 7),
    (["shop", "web", SIDE.0, "side", "denied"], 1),
    (["shop", "learn-0", LEARN.0, "learn", "allowed"], 3),
    (["shop", "gone", GONE.0, "gone", "denied"], 4),
    (["shop", "noisy", NOISY.0, "noisy", "denied"], 2 * NOISES.len() as u64),
];
/// More of the first, after its Event was created.
const MORE: u64 = 3;

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    fs::create_dir_all("/lab/for")?;
    let server = ApiServer::start()?;
    server.present(false);
    for pod in pods() {
        server.apply(&Resource::PODS, pod.json());
    }
    // Whatever is seen of a container until then is in its first Event.
    server.fault(Fault::on(
        Verb::Create,
        Resource::EVENTS,
        Action::Refuse { status: 429, retry_after: Some(1) },
    ));
    let mut log = KernelLog::open()?;
    log.records()?;
    let json = ["--output", "json", "--output-file", agent::EVENTS];
    let mut agent = Agent::start_in_cluster(Chart::Audit, &server.kubeconfig(None), NODE, &json)?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    report.check(
        "the agent has the chart's capabilities and no others",
        agent.check_capabilities(Chart::Audit),
    );

    run(APP, ENFORCE, UNNAMED)?;
    settle(UNNAMED)?;
    report.check("without an API server a denial has container and pod UID", judge_ids(0, UNNAMED));
    server.present(true);
    until("the pods are not known", || Ok(sum(&agent::metrics()?.1, "aa_monitor_pods", &[]) == 4))?;
    run(APP, ENFORCE, 2)?;
    settle(UNNAMED + 2)?;
    report.check("when it comes back, names appear", judge_names(UNNAMED, 2));

    run(APP, ENFORCE, 5)?;
    run(SIDE, ENFORCE, 1)?;
    run(LEARN, COMPLAIN, 3)?;
    report.check("a pod is deleted before its denials are read", deleted_meanwhile(&agent, &server));
    noisy()?;
    let named: u64 = NAMED.iter().map(|(_, times)| times).sum();
    let (text, samples) = settle(UNNAMED + named)?;
    keep("metrics.prom", &text);
    report.check("each container has its own number under its names", judge_counters(&samples));

    server.heal();
    let kinds = 3 + POD_BURST;
    let created =
        until("not all Events are created", || Ok(server.all(&Resource::EVENTS).len() as u64 == kinds));
    report.check("the Events are created that the budget allows", created);
    run(APP, ENFORCE, MORE)?;
    let (_, samples) = settle(UNNAMED + named + MORE)?;
    let suppressed = sum(&samples, "aa_monitor_kube_events_total", &[("result", "suppressed")]);

    let (status, _) = agent.terminate(END_LIMIT)?;
    ensure!(status.success(), "the agent ended: {status}");
    report.check("these capabilities are enough to leave the programs attached", pinned());
    let events = server.all(&Resource::EVENTS);
    for event in &events {
        keep("events.json", &event.to_string());
    }
    report.check("each Event tells how often", judge_events(&events));
    report.check(
        "what no Event tells is counted as suppressed",
        equal(2 * (NOISES.len() as u64 - POD_BURST), suppressed),
    );
    let refused = server.requests().into_iter().find(|request| !matches!(request.status, 0..400 | 429));
    report.check(
        "the API server refused nothing else",
        refused.map_or(Ok(()), |r| Err(anyhow::anyhow!("{r:?}"))),
    );
    let records = log.records()?;
    let violations = records.iter().filter(|record| !record.contains("apparmor=\"STATUS\"")).count() as u64;
    report.check("the agent raised no record of its own", equal(UNNAMED + named + MORE, violations));
    Agent::say_log();
    Ok(())
}

fn pods() -> [Pod; 4] {
    let [web, learn, gone, noisy] = [APP, LEARN, GONE, NOISY].map(|container| {
        Pod::new("shop", container.0, &uid(container)).on(NODE).container(container.1, &id(container))
    });
    let web = web.container(SIDE.1, &id(SIDE));
    [web.label("pod-template-hash", "7d4b9c").owned_by("ReplicaSet", "web-7d4b9c"), learn, gone, noisy]
}

fn id((.., digit): Container) -> String {
    digit.to_string().repeat(64)
}

fn uid((pod, ..): Container) -> String {
    let digits: String = pod.bytes().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("0fbc5e4a-2a4b-4c5d-9e6f-{digits:0<12}")
}

fn cgroup(container: Container) -> String {
    format!("/kubepods/burstable/pod{}/{}", uid(container), id(container))
}

/// Runs the container, which is denied so often and exits.
fn run(container: Container, profile: &str, times: u64) -> Result<()> {
    let cgroup = cgroup(container);
    let run = Oci { runtime: "runc", name: container.1, cgroup: &cgroup };
    run.create(profile, FILE, &["--times", &times.to_string(), "open", FILE])?;
    run.finish()
}

/// The agent sleeps while the container is denied, ends and is removed, and while its pod is deleted.
fn deleted_meanwhile(agent: &Agent, server: &ApiServer) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(agent.id())?);
    kill(pid, Signal::SIGSTOP)?;
    let ran = run(GONE, ENFORCE, 4);
    server.delete(&Resource::PODS, "shop", GONE.0);
    kill(pid, Signal::SIGCONT)?;
    ran
}

fn pinned() -> Result<()> {
    let links = ["stamp-link", "event-link", "event-anchor"];
    let missing: Vec<_> = links
        .into_iter()
        .filter(|link| !Path::new("/sys/fs/bpf/aa-monitor/v3").join(link).exists())
        .collect();
    ensure!(missing.is_empty(), "{missing:?} are not pinned");
    Ok(())
}

fn noisy() -> Result<()> {
    let folder = oci::make(&cgroup(NOISY))?;
    for noise in NOISES {
        oci::run_in(&folder, ENFORCE, &[&["--times", "2"], noise].concat())?;
    }
    Ok(())
}

fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < BACK_LIMIT, "{what} after {BACK_LIMIT:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// So many events from the `skip`th on.
fn events(skip: u64, times: u64) -> Result<Vec<Value>> {
    let text = fs::read_to_string(agent::EVENTS).context("reading the agent's events")?;
    let lines = text.lines().skip(usize::try_from(skip)?);
    let events: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    equal(times, events.len() as u64)?;
    Ok(events)
}

fn judge_ids(skip: u64, times: u64) -> Result<()> {
    for event in events(skip, times)? {
        let ids = ["/container/id", "/pod/uid", "/pod/name"].map(|pointer| text(&event, pointer));
        ensure!(ids == [&*id(APP), &*uid(APP), ""], "{event}");
    }
    Ok(())
}

fn judge_names(skip: u64, times: u64) -> Result<()> {
    for event in events(skip, times)? {
        let names = ["/pod/namespace", "/pod/workload", "/pod/name", "/container/name", "/container/id"];
        let names = names.map(|pointer| text(&event, pointer));
        ensure!(names == ["shop", "web", APP.0, APP.1, &*id(APP)], "{event}");
    }
    Ok(())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn judge_counters(samples: &[Sample]) -> Result<()> {
    let mut got: BTreeMap<[&str; 5], u64> = BTreeMap::new();
    let series = samples.iter().filter(|sample| sample.name == counters::EVENTS && sample.value > 0.0);
    for sample in series {
        let labels = ["namespace", "workload", "pod", "container", "verdict"].map(|name| sample.label(name));
        *got.entry(labels).or_default() += aa_monitor_tests::scrape::whole(sample.value);
    }
    // While there was no name, what stands in for it is told apart from every other.
    let (uid, id) = (uid(APP), id(APP));
    let mut want = BTreeMap::from(NAMED);
    want.insert(["", "", &uid, id.get(..12).unwrap_or_default(), "denied"], UNNAMED);
    ensure!(got == want, "want {want:?}, got {got:?}");
    Ok(())
}

/// By pod and container: how often its Events tell of a denial.
fn judge_events(events: &[Value]) -> Result<()> {
    let mut got: BTreeMap<(String, String), u64> = BTreeMap::new();
    for event in events {
        ensure!(text(event, "/reason") == "AppArmorDenied", "{event}");
        let count = event.pointer("/series/count").map_or(Some(1), Value::as_u64).context("a count")?;
        let [pod, path] = ["/regarding/name", "/regarding/fieldPath"].map(|at| text(event, at).to_owned());
        *got.entry((pod, path)).or_default() += count;
    }
    let told = [(APP, 7 + MORE), (SIDE, 1), (GONE, 4), (NOISY, 2 * POD_BURST)];
    let want: BTreeMap<_, _> = told
        .into_iter()
        .map(|((pod, name, _), count)| ((pod.to_owned(), format!("spec.containers{{{name}}}")), count))
        .collect();
    ensure!(got == want, "want {want:?}, got {got:?}");
    Ok(())
}
