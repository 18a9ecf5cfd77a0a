//! Scenario `containers`: runc containers under AppArmor, in the cgroups that a kubelet would give them. Each
//! denial names the profile and carries the container's cgroup.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::{ENFORCE, Key};
use anyhow::{Context, Result, ensure};

use crate::agent::{self, Agent, keep};
use crate::bundle::Bundle;
use crate::console::Report;
use crate::counters::{compare, counted, settle};

/// cgroup paths as a kubelet's cgroupfs driver makes them: a burstable and a guaranteed pod.
const CGROUPS: [&str; 2] = [
    "/kubepods/burstable/pod0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f/\
     4f1c9b6a7d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e",
    "/kubepods/pod9d8c7b6a-5f4e-4d3c-8b2a-190807060504/\
     a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeeff",
];
/// Denials a container.
const TIMES: u32 = 3;
const END_LIMIT: Duration = Duration::from_secs(20);

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    let mut cgroups = Vec::new();
    for (number, cgroup) in CGROUPS.iter().enumerate() {
        let ran = run(&format!("container-{number}"), cgroup);
        cgroups.extend(ran.as_ref().ok().copied());
        report.check(&format!("container {number} runs"), ran.map(drop));
    }
    let total = u64::from(TIMES) * CGROUPS.len() as u64;
    let key = Key {
        verdict: "denied".into(),
        class: "file".into(),
        operation: "open".into(),
        profile: ENFORCE.into(),
    };
    let (text, samples) = settle(total)?;
    keep("metrics.prom", &text);
    report.check(
        "the containers' denials are counted, and nothing else",
        compare(&BTreeMap::from([(key, total)]), &counted(&samples)),
    );
    let (status, _) = agent.terminate(END_LIMIT)?;
    ensure!(status.success(), "the agent ended: {status}");
    let events = fs::read_to_string(agent::EVENTS).context("reading the agent's events")?;
    keep("events.json", &events);
    for (number, cgroup) in cgroups.into_iter().enumerate() {
        let named = events.matches(&format!("\"cgroup_id\":{cgroup},")).count();
        let result = (named == TIMES as usize).then_some(());
        report.check(
            &format!("container {number}'s denials carry its cgroup"),
            result.with_context(|| format!("want {TIMES} with cgroup {cgroup}, got {named}")),
        );
    }
    Agent::say_log();
    Ok(())
}

/// Creates a container, notes the id of its cgroup, lets it run to its end and removes it.
fn run(id: &str, cgroup: &str) -> Result<u64> {
    let inode = create(id, cgroup, &["--times", &TIMES.to_string(), "open", "/lab/secret"])?;
    runc(&["start", id])?;
    let start = Instant::now();
    while !ended(id)? {
        ensure!(start.elapsed() < END_LIMIT, "{id} still runs after {} s", END_LIMIT.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
    runc(&["delete", id])?;
    Ok(inode)
}

/// Creates a container that will run `provoke` with these arguments; the answer is its cgroup's id.
pub(crate) fn create(id: &str, cgroup: &str, arguments: &[&str]) -> Result<u64> {
    let folder = PathBuf::from("/tmp").join(id);
    Bundle { cgroup, profile: ENFORCE, arguments, secret: Some("/lab/secret") }.write(&folder)?;
    runc(&["create", "--bundle", &folder.to_string_lossy(), id])?;
    let folder = Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/'));
    Ok(fs::metadata(&folder).with_context(|| format!("looking at {}", folder.display()))?.ino())
}

/// Whether a container's process has ended.
pub(crate) fn ended(id: &str) -> Result<bool> {
    Ok(runc(&["state", id])?.contains("\"stopped\""))
}

/// Calls runc; answers what it says.
pub(crate) fn runc(arguments: &[&str]) -> Result<String> {
    let (out, err) = ("/tmp/runc.out", "/tmp/runc.err");
    // Files, not pipes: the container inherits them and would keep a pipe open.
    let status = Command::new("/sbin/runc")
        .args(["--root", "/tmp/runc"])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(fs::File::create(out)?)
        .stderr(fs::File::create(err)?)
        .status()
        .context("starting runc")?;
    let said = fs::read_to_string(err).unwrap_or_default();
    ensure!(status.success(), "runc {}: {}", arguments.join(" "), said.trim());
    Ok(fs::read_to_string(out)?)
}
