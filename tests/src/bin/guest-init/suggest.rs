//! Scenario `suggest`: the loop of a profile's author. A workload runs under a complain-mode profile that
//! grants nothing, its rules are suggested by the running agent, loaded in enforce mode under another name,
//! and the same workload runs again: it works, and nothing is reported any more.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result, bail, ensure};

use crate::agent::{self, Agent, keep};
use crate::confined;
use crate::console::Report;
use crate::counters::{EVENTS, equal};

const LEARN: &str = "suggest-learn";
const ENFORCE: &str = "suggest-enforce";
/// Longer than a record of the audit stream waits for its partner.
const SETTLE: Duration = Duration::from_secs(4);
/// What `suggest` ends with when something is missing.
const MISSING: i32 = 2;

/// Programs of their own kinds, each as a workload: its name, and what the shell runs.
const WORKLOADS: [(&str, &str); 6] = [
    (
        "files",
        "echo x > /tmp/w-file && cat < /tmp/w-file && mv /tmp/w-file /tmp/w-moved && ln /tmp/w-moved /tmp/w-link && rm /tmp/w-moved /tmp/w-link",
    ),
    ("a pipeline", "/bin/busybox seq 100 | /bin/busybox sort -r | /bin/busybox head -n 3 > /dev/null"),
    (
        "an archive",
        "mkdir -p /tmp/w-dir && echo y > /tmp/w-dir/f && /bin/busybox tar -czf /tmp/w.tgz -C /tmp w-dir && /bin/busybox tar -xzf /tmp/w.tgz -C /tmp && rm -r /tmp/w-dir /tmp/w.tgz",
    ),
    ("a signal", "/bin/busybox sleep 60 & kill $! ; wait; true"),
    ("the process's own state", "cat /proc/self/status /proc/$$/stat > /dev/null"),
    (
        "a socket",
        "/bin/busybox ifconfig lo 127.0.0.1 up && (echo hi | /bin/busybox nc -l -p 7777 > /dev/null & sleep 1; echo ho | /bin/busybox nc 127.0.0.1 7777 > /dev/null; wait)",
    ),
];

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    load(&format!("abi <abi/3.0>,\nprofile {LEARN} flags=(complain) {{\n}}\n"))?;
    for (name, script) in WORKLOADS {
        report.check(&format!("{name} works in complain mode"), run(LEARN, script));
    }
    thread::sleep(SETTLE);

    let ask = |arguments: &[&str]| Command::new("/bin/aa-monitor").args(arguments).output();
    let suggested = ask(&["suggest", "--profile", LEARN, "--abi", "3.0", "--format", "profile"])?;
    let text = String::from_utf8(suggested.stdout).context("the suggestion is text")?;
    keep("suggested.profile", &text);
    let code = suggested.status.code();
    let said = String::from_utf8_lossy(&suggested.stderr).into_owned();
    report.check(
        "the agent suggests",
        (code == Some(MISSING)).then_some(()).with_context(|| format!("{code:?}: {said}")),
    );
    report.check("what is suggested loads", load(&text.replace(LEARN, ENFORCE)));
    for (name, script) in WORKLOADS {
        report.check(&format!("{name} works in enforce mode"), run(ENFORCE, script));
    }
    thread::sleep(SETTLE);
    report.check("nothing is reported any more", reported(ENFORCE).and_then(|seen| equal(0, seen)));
    report.check(
        "what was not asked for is refused",
        match run(ENFORCE, "cat /lab/secret") {
            Ok(()) => bail_refused(),
            Err(_) => Ok(()),
        },
    );
    report.check("and that is reported", wait_for(ENFORCE));

    let status = ask(&["status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    keep("status.txt", &status);
    report.check(
        "status tells modes",
        [LEARN, ENFORCE].iter().try_for_each(|name| {
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .with_context(|| format!("no {name} in {status}"))?;
            let mode = if *name == LEARN { "complain" } else { "enforce" };
            ensure!(line.contains(mode), "{line}");
            Ok(())
        }),
    );
    let tail = ask(&["tail", "--last", "5", "--no-follow", "--profile", ENFORCE])?;
    let tail = String::from_utf8_lossy(&tail.stdout).into_owned();
    report.check(
        "tail tells what was refused",
        tail.contains("/lab/secret").then_some(()).with_context(|| tail.clone()),
    );

    let (status, _) = agent.terminate(Duration::from_secs(5))?;
    ensure!(status.success(), "the agent ended: {status}");
    let kept = ask(&["suggest", "--history", "--profile", LEARN, "--abi", "3.0", "--format", "profile"])?;
    let kept = String::from_utf8_lossy(&kept.stdout).into_owned();
    report
        .check("the history outlives the agent", (kept == text).then_some(()).context("another suggestion"));
    Agent::say_log();
    Ok(())
}

fn bail_refused() -> Result<()> {
    bail!("it was let through")
}

fn load(text: &str) -> Result<()> {
    let path = "/tmp/suggest.profile";
    fs::write(path, text)?;
    confined::load(path)
}

fn run(profile: &str, script: &str) -> Result<()> {
    let arguments = ["sh", "-c", script].map(str::to_owned);
    let end = confined::program(profile, "/bin/busybox", &arguments).output().context("starting a shell")?;
    ensure!(end.status.success(), "{}: {}", end.status, String::from_utf8_lossy(&end.stderr).trim());
    Ok(())
}

/// Violations of a profile that the agent has counted.
fn reported(profile: &str) -> Result<u64> {
    let (text, samples) = agent::metrics()?;
    keep("metrics.prom", &text);
    let of = |verdict| sum(&samples, EVENTS, &[("profile", profile), ("verdict", verdict)]);
    Ok(of("denied") + of("allowed") + of("killed"))
}

fn wait_for(profile: &str) -> Result<()> {
    let start = Instant::now();
    while reported(profile)? == 0 {
        ensure!(start.elapsed() < Duration::from_secs(10), "nothing of {profile} is counted");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
