//! Scenario `authors`: the loop of a profile's author, for real programs. Each runs under a complain-mode
//! profile that grants nothing, and under what the running agent suggests of that, until nothing is missing. The
//! rules are loaded in enforce mode under another name, and it runs again: it works, and nothing is reported any
//! more. Then it does something else, which is refused.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result, bail, ensure};

use crate::agent::{self, Agent, keep};
use crate::confined;
use crate::console::{Report, say};
use crate::counters::{EVENTS, equal};

mod programs;
mod tail;

use programs::PROGRAMS;

/// Longer than a record of the audit stream waits for its partner.
const SETTLE: Duration = Duration::from_secs(4);
/// In the first, programs are executed by no rule, and the kernel says little of what such do; the second shows
/// the rest.
const ROUNDS: usize = 2;
/// What `suggest` ends with when something is missing.
const MISSING: i32 = 2;

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    let mut server = programs::prepare()?;
    for (name, _) in PROGRAMS {
        load(&format!("abi <abi/3.0>,\nprofile {} flags=(complain) {{\n}}\n", learn(name)))?;
    }
    for round in 1..=ROUNDS {
        for (name, script) in PROGRAMS {
            // Twice: of a name that changes, one sample is not told from a name that does not.
            let twice = run(&learn(name), script).and_then(|()| run(&learn(name), script));
            report.check(&format!("{} works, round {round}", learn(name)), twice);
        }
        thread::sleep(SETTLE);
        for (name, _) in PROGRAMS {
            report.check(
                &format!("what {name} needs is suggested and loads, round {round}"),
                learnt(name, round),
            );
        }
    }
    for (name, _) in PROGRAMS {
        report.check(&format!("what {name} needs is loaded to be enforced"), decided(name));
    }
    for (name, script) in PROGRAMS {
        report.check(&format!("{} works", enforce(name)), run(&enforce(name), script));
    }
    thread::sleep(SETTLE);
    for (name, _) in PROGRAMS {
        let name = enforce(name);
        report.check(
            &format!("nothing of {name} is reported"),
            reported(&name).and_then(|seen| equal(0, seen).with_context(|| events(&name))),
        );
    }
    for (name, _) in PROGRAMS {
        report.check(&format!("{} is refused what it never did", enforce(name)), refused(&enforce(name)));
    }
    server.kill().context("ending httpd")?;
    thread::sleep(SETTLE);
    report.check("tail is prompt", tail::prompt().map(|said| say(&said)));
    report.check("status tells modes", status());
    report.check("tail tells what was refused", told());

    let before = suggest(&["--profile", &learn("redis")])?.stdout;
    let (status, _) = agent.terminate(Duration::from_secs(5))?;
    ensure!(status.success(), "the agent ended: {status}");
    let after = suggest(&["--history", "--profile", &learn("redis")])?.stdout;
    let same = (before == after && !before.is_empty()).then_some(()).context("another suggestion");
    report.check("the history outlives the agent", same);
    Agent::say_log();
    Ok(())
}

fn learn(program: &str) -> String {
    format!("learn-{program}")
}

fn enforce(program: &str) -> String {
    format!("enforce-{program}")
}

fn ask(arguments: &[&str]) -> Result<Output> {
    Command::new("/bin/aa-monitor").args(arguments).output().context("starting aa-monitor")
}

fn suggest(arguments: &[&str]) -> Result<Output> {
    ask(&[&["suggest", "--abi", "3.0", "--format", "profile"], arguments].concat())
}

fn source(program: &str) -> String {
    format!("/tmp/{program}.profile")
}

/// Asks the agent for the rules of a program, and loads them in complain mode.
fn learnt(program: &str, round: usize) -> Result<()> {
    let answer = suggest(&["--complain", "--profile", &learn(program)])?;
    let text = String::from_utf8(answer.stdout).context("the suggestion is no text")?;
    keep(&format!("{program}-{round}.profile"), &text);
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.code() == Some(MISSING), "{}: {said}", answer.status);
    fs::write(source(program), &text)?;
    confined::change_policy("--replace", &source(program))
}

/// All that was seen is in the profile by now, and loads to be enforced.
fn decided(program: &str) -> Result<()> {
    let answer = suggest(&["--profile", &learn(program), "--profile-file", &source(program)])?;
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success(), "something is missing: {}: {said}", answer.status);
    let text = fs::read_to_string(source(program))?;
    load(&enforced(&text.replace(&learn(program), &enforce(program))))
}

/// A suggested profile without its first flag.
fn enforced(profile: &str) -> String {
    profile.replace("flags=(complain) ", "").replace("flags=(complain, ", "flags=(")
}

/// The lab's secret is what no program asked for.
fn refused(profile: &str) -> Result<()> {
    if run(profile, "cat /lab/secret").is_ok() {
        bail!("it was let through");
    }
    let start = Instant::now();
    while reported(profile)? == 0 {
        ensure!(start.elapsed() < Duration::from_secs(10), "nothing of {profile} is counted");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn status() -> Result<()> {
    let answer = ask(&["status"])?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    keep("status.txt", &text);
    for (name, mode) in [(learn("redis"), "complain"), (enforce("redis"), "enforce")] {
        let line = text.lines().find(|line| line.starts_with(&name));
        let line = line.with_context(|| format!("no {name} in {text}"))?;
        ensure!(line.contains(mode), "{line}");
    }
    Ok(())
}

fn told() -> Result<()> {
    let answer = ask(&["tail", "--last", "5", "--no-follow", "--profile", &enforce("redis")])?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    ensure!(text.contains("/lab/secret"), "{text:?}: {}", String::from_utf8_lossy(&answer.stderr));
    Ok(())
}

fn load(text: &str) -> Result<()> {
    let path = "/tmp/authors.profile";
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
    let (_, samples) = agent::metrics()?;
    let of = |verdict| sum(&samples, EVENTS, &[("profile", profile), ("verdict", verdict)]);
    Ok(of("denied") + of("allowed") + of("killed"))
}

/// The agent's events of a profile, to be told.
fn events(profile: &str) -> String {
    let text = fs::read_to_string(agent::EVENTS).unwrap_or_default();
    text.lines().filter(|line| line.contains(profile)).take(5).collect::<Vec<_>>().join("\n")
}
