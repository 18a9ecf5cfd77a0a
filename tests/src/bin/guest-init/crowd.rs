//! Scenario `crowd`: what an agent holds on a node with 200 pods, each of which has been denied many things.

use std::thread;
use std::time::Duration;

use aa_monitor_tests::acts::{COMPLAIN, ENFORCE};
use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{ApiServer, Resource};
use aa_monitor_tests::contract::Line;
use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Result, ensure};

use crate::agent::{Agent, Chart, keep};
use crate::console::{Report, say};
use crate::counters::{EVENTS, equal, settle};
use crate::figures::tell;
use crate::memory::{self, Memory};
use crate::oci;

const NODE: &str = "lab";
const PODS: usize = 200;
/// What a pod is denied or let through, each by another operation or profile: a series each of the counter, and for
/// each profile one with the time of the latest.
const VIOLATIONS: [(&str, &[&str]); 23] = [
    (ENFORCE, &["open", "/lab/secret"]),
    (ENFORCE, &["chmod", "/lab/secret"]),
    (ENFORCE, &["unlink", "/lab/doomed"]),
    (ENFORCE, &["exec", "/lab/not-a-program"]),
    (ENFORCE, &["link", "/lab/secret", "/lab/link"]),
    (ENFORCE, &["inet"]),
    (ENFORCE, &["unix"]),
    (ENFORCE, &["mount", "/lab/mnt"]),
    (ENFORCE, &["umount", "/lab/spare"]),
    (ENFORCE, &["pivot_root", "/lab/granted"]),
    (ENFORCE, &["rlimit", "2048"]),
    (ENFORCE, &["change_profile", "lab-target"]),
    (ENFORCE, &["change_onexec", "lab-target"]),
    (ENFORCE, &["create", "/lab/new"]),
    (ENFORCE, &["mmap", "/lab/granted/file"]),
    (ENFORCE, &["mprotect", "/lab/granted/file"]),
    (COMPLAIN, &["open", "/lab/secret"]),
    (COMPLAIN, &["chmod", "/lab/secret"]),
    (COMPLAIN, &["exec", "/lab/not-a-program"]),
    (COMPLAIN, &["inet"]),
    (COMPLAIN, &["unix"]),
    (COMPLAIN, &["pivot_root", "/lab/granted"]),
    (COMPLAIN, &["rlimit", "2048"]),
];
/// The families of which each pod has its own series.
const FAMILIES: [&str; 2] = [EVENTS, "apparmor_last_event_timestamp_seconds"];
/// After so many violations of each pod, so many series; at last as many as an agent keeps by default.
const STAGES: [(usize, usize); 2] = [(9, 2_000), (VIOLATIONS.len(), 5_000)];
/// What of the limit may be left over, and what no pod has done has series too.
const SLACK: usize = 20;
const REST: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let server = ApiServer::start()?;
    for number in 0..PODS {
        server.apply(&Resource::PODS, pod(number));
        // It stays until the machine ends: its profile lets nobody signal it.
        oci::start_in(&oci::make(&cgroup(number))?, ENFORCE, &["wait"])?;
    }
    let mut agent = Agent::start_in_cluster(Chart::Audit, &server.kubeconfig(None), NODE, &[])?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    thread::sleep(REST);
    told(&agent, 0, Memory::of(agent.id())?);

    let mut done = 0;
    for (violations, series) in STAGES {
        for (profile, arguments) in VIOLATIONS.get(done..violations).unwrap_or_default() {
            for number in 0..PODS {
                oci::run_in(&oci::make(&cgroup(number))?, profile, arguments)?;
            }
        }
        done = violations;
        let total = (PODS * done) as u64;
        let (text, samples) = settle(total)?;
        keep("metrics.prom", &text);
        report.check(
            &format!("what {PODS} pods violated is counted"),
            equal(total, sum(&samples, EVENTS, &[])),
        );
        report.check(&format!("there are {series} series"), about(series, &samples));
        report.check("each pod has its own", every_pod(&samples));
        thread::sleep(REST);
        told(&agent, series, Memory::of(agent.id())?);
    }
    keep("crowd.txt", &memory::mappings(agent.id())?);
    agent.terminate(STOP_LIMIT)?;
    Agent::say_log();
    Ok(())
}

fn told(agent: &Agent, series: usize, memory: Memory) {
    say(&Line::Summary(format!("{PODS} pods, {series} series (agent {}): {}", agent.id(), memory.words())));
    tell(&format!("crowd-{series}-kib"), memory.resident as f64);
}

fn about(want: usize, samples: &[Sample]) -> Result<()> {
    let got = samples.iter().filter(|sample| FAMILIES.contains(&&*sample.name)).count();
    ensure!(got.abs_diff(want) <= SLACK, "there are {got}");
    Ok(())
}

fn every_pod(samples: &[Sample]) -> Result<()> {
    let without = (0..PODS).find(|number| sum(samples, EVENTS, &[("pod", &name(*number))]) == 0);
    ensure!(without.is_none(), "{without:?} has none");
    Ok(())
}

fn name(number: usize) -> String {
    format!("web-{number}-6c5f9d7b8-x{number:04}")
}

fn uid(number: usize) -> String {
    format!("5f0c9d7e-6f3b-4d38-a1b5-{number:012x}")
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn cgroup(number: usize) -> String {
    format!("/kubepods/burstable/pod{}/{}", uid(number), id(number))
}

fn pod(number: usize) -> serde_json::Value {
    let namespace = format!("team-{}", number % 12);
    Pod::new(&namespace, &name(number), &uid(number)).on(NODE).container("app", &id(number)).json()
}
