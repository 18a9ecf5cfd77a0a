//! Scenario `silent`: what AppArmor refuses without a record is counted, exactly, and nothing else is.

mod modes;
mod readers;
mod whose;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use aa_monitor_tests::scrape::{Sample, sum, whole};
use anyhow::{Context, Result, ensure};

use crate::agent::{self, Agent, keep};
use crate::confined;
use crate::console::Report;
use crate::counters::{EVENTS, LOST, equal, settle};
use crate::victim::Victim;

const SILENT: &str = "apparmor_silent_denials_total";
const HOOK: &str = "aa_monitor_hook_attached";
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long the last denial may take to be counted.
const COUNT_LIMIT: Duration = Duration::from_secs(20);

/// What explicit rules refuse in each of the profiles: the operation, how often, its class and why nothing is
/// reported.
const QUIET: &[(&[&str], u32, &str, &str)] = &[
    (&["write", "/lab/secret"], 3, "file", "quiet_rule"),
    (&["exec", "/lab/not-a-program"], 2, "exec", "quiet_rule"),
    (&["inet"], 2, "network", "quiet_rule"),
    (&["signal", "{victim}"], 3, "signal", "quiet_rule"),
    (&["ptrace", "{victim}"], 1, "ptrace", "quiet_rule"),
    (&["mount", "/lab/mnt"], 2, "mount", "quiet_rule"),
    (&["chroot"], 5, "capability", "capability_quiet_or_cached"),
];

/// Their twins, which no rule mentions: reported, and therefore not silent.
const REPORTED: &[(&[&str], u32)] = &[
    (&["open", "/lab/secret"], 2),
    (&["exec", "/lab/nowhere"], 1),
    (&["inet_dgram"], 2),
    (&["unix"], 1),
    (&["private", "/lab/mnt"], 1),
    (&["module"], 1),
];

/// What the profiles permit.
const PERMITTED: &[(&[&str], u32)] = &[
    (&["open", "/lab/granted/file"], 20),
    (&["write", "/lab/granted/file"], 20),
    (&["inet6"], 20),
    (&["hostname"], 5),
];

/// The classes of what is done without a profile too: what harms neither victim nor machine.
const UNCONFINED: [&str; 3] = ["file", "exec", "network"];

/// Which of them complain mode does in spite of the rule.
const COMPLAINED: &[&str] = &["exec", "/lab/not-a-program"];

const ENFORCE: &str = "silent-enforce";
const COMPLAIN: &str = "silent-complain";
const KILL: &str = "silent-kill";
/// Has no rule for a capability that is asked for again and again.
const REPEAT: &str = "silent-repeat";
const REPEATS: u32 = 25;

/// Class, profile and reason of a silent denial.
type Key = (String, String, String);

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    confined::load("/etc/apparmor.d/silent.profiles")?;
    let victim = Victim::start()?;
    let without = off(report, &victim)?;

    let mut agent = Agent::start_as("/bin/aa-monitor", "auto", &["--silent-denials", "on"])?;
    let ready = agent.wait_ready().and_then(|()| agent.wait_sources([true, true]));
    let failed = ready.is_err();
    report.check("the agent becomes ready", ready);
    if failed {
        Agent::say_log();
        return Ok(());
    }
    let (_, samples) = agent::metrics()?;
    let hooks = hooks(&samples);
    let missing: Vec<&str> = hooks
        .iter()
        .filter(|(name, up)| !up && name.starts_with("aa_"))
        .map(|(name, _)| name.as_str())
        .collect();
    report.check("every hook is attached", equal_lists(&[], &missing));
    let more = programs(agent.id())? - without;
    report.check("off loads fewer programs", at_least(4, more));

    let mut reported = 0;
    for profile in [ENFORCE, COMPLAIN] {
        for (operation, times) in REPORTED {
            run(profile, operation, *times, &victim)?;
            reported += u64::from(*times);
        }
    }
    let (_, samples) = settle(reported)?;
    report.check("what is reported is counted once", equal(reported, sum(&samples, EVENTS, &[])));
    report.check("and is not silent", differs(&BTreeMap::new(), &silent(&samples)));

    for profile in [ENFORCE, COMPLAIN, KILL] {
        for (operation, times) in PERMITTED {
            run(profile, operation, *times, &victim)?;
        }
    }
    // Refused by a rule, and yet complain mode goes on.
    let refused = run(COMPLAIN, COMPLAINED, 1, &victim)?;
    ensure!(!refused, "{} under {COMPLAIN} was refused", COMPLAINED.join(" "));
    let (_, samples) = settle(reported)?;
    report.check("what is permitted raises nothing", differs(&BTreeMap::new(), &silent(&samples)));

    // Without a profile: written, connected, and an exec that another than AppArmor refuses.
    for (operation, times, ..) in QUIET.iter().filter(|(_, _, class, _)| UNCONFINED.contains(class)) {
        run("unconfined", operation, *times, &victim)?;
    }
    let (_, samples) = settle(reported)?;
    report.check("unconfined tasks raise nothing", differs(&BTreeMap::new(), &silent(&samples)));

    let mut want = BTreeMap::new();
    for profile in [ENFORCE, COMPLAIN, KILL] {
        for (operation, times, class, reason) in QUIET {
            // A capability kills before a rule can keep it quiet, and that is reported.
            let reported = profile == KILL && *class == "capability";
            if reported || profile == COMPLAIN && *operation == COMPLAINED {
                continue;
            }
            let refused = run(profile, operation, *times, &victim)?;
            ensure!(refused, "{} under {profile} was not refused", operation.join(" "));
            *want.entry(key(class, profile, reason)).or_insert(0) += u64::from(*times);
        }
    }
    let (text, samples) = counted(&mut agent, reported, want.values().sum())?;
    keep("metrics.prom", &text);
    report.check("every silent denial is counted once", differs(&want, &silent(&samples)));
    report.check("none of them is an event", equal(reported, sum(&samples, EVENTS, &[])));
    readers::check(report, &want);

    // A denial that was reported stays in AppArmor's cache, and is not reported again for a while.
    run(REPEAT, &["nice"], REPEATS, &victim)?;
    reported += 1;
    let (_, samples) = counted(&mut agent, reported, want.values().sum::<u64>() + 1)?;
    let told = sum(&samples, EVENTS, &[("profile", REPEAT)]);
    let untold = sum(&samples, SILENT, &[("profile", REPEAT), ("class", "capability")]);
    report.check("a repeated capability is told or counted", equal(REPEATS.into(), told + untold));
    report.check("of it, most are silent", at_least(u64::from(REPEATS) / 2, untold));

    reported = sum(&samples, EVENTS, &[]);
    whose::check(report, &mut agent, reported)?;
    modes::check(report, &mut agent, &victim)?;
    let (text, samples) = agent::metrics()?;
    keep("metrics-end.prom", &text);
    report.check("nothing is lost", equal(0, sum(&samples, LOST, &[])));
    report.check("SIGTERM ends it in time", agent.terminate(STOP_LIMIT).map(drop));
    Agent::say_log();
    Ok(())
}

/// The same without the setting; tells how many programs the agent has loaded.
fn off(report: &mut Report, victim: &Victim) -> Result<u64> {
    let mut agent = Agent::start("auto")?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    for (operation, times, ..) in QUIET {
        run(ENFORCE, operation, *times, victim)?;
    }
    let (_, samples) = settle(0)?;
    report.check("off counts nothing", differs(&BTreeMap::new(), &silent(&samples)));
    let for_them = hooks(&samples).into_iter().map(|(name, _)| name).filter(|name| name.starts_with("aa_"));
    report.check("off hooks nothing", equal_lists(&[], &for_them.collect::<Vec<_>>()));
    let programs = programs(agent.id())?;
    agent.terminate(STOP_LIMIT)?;
    Ok(programs)
}

/// Scrapes until so many events and silent denials are counted, and nothing moves any more.
fn counted(agent: &mut Agent, events: u64, wanted: u64) -> Result<(String, Vec<Sample>)> {
    let start = Instant::now();
    loop {
        let (_, samples) = settle(events)?;
        if sum(&samples, SILENT, &[]) >= wanted || start.elapsed() > COUNT_LIMIT {
            // They are read once a second: what is counted twice is counted after that.
            let (again, samples_again) = settle(events)?;
            if sum(&samples, SILENT, &[]) == sum(&samples_again, SILENT, &[]) {
                return Ok((again, samples_again));
            }
        }
        agent.still_runs()?;
    }
}

/// Performs an operation; true when it was refused.
fn run(profile: &str, operation: &[&str], times: u32, victim: &Victim) -> Result<bool> {
    let end = confined::provoke(profile, &victim.words(operation, times))?;
    let code = end.status.code().with_context(|| format!("{} under {profile} ended", operation.join(" ")))?;
    Ok(code == 1)
}

fn key(class: &str, profile: &str, reason: &str) -> Key {
    (class.to_owned(), profile.to_owned(), reason.to_owned())
}

/// The silent denials that are not 0.
fn silent(samples: &[Sample]) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.name == SILENT && sample.value > 0.0) {
        let key = key(sample.label("class"), sample.label("profile"), sample.label("reason"));
        *counts.entry(key).or_insert(0) += whole(sample.value);
    }
    counts
}

/// The hooked functions, and whether they are.
fn hooks(samples: &[Sample]) -> Vec<(String, bool)> {
    let hooks = samples.iter().filter(|sample| sample.name == HOOK);
    hooks.map(|sample| (sample.label("function").to_owned(), sample.value > 0.0)).collect()
}

/// How many eBPF programs a process holds.
fn programs(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?;
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    Ok(texts.filter(|text| text.contains("prog_type:")).count() as u64)
}

fn differs(want: &BTreeMap<Key, u64>, got: &BTreeMap<Key, u64>) -> Result<()> {
    let all = want.keys().chain(got.keys()).collect::<std::collections::BTreeSet<_>>();
    let wrong: Vec<String> = all
        .into_iter()
        .filter(|key| want.get(key) != got.get(key))
        .map(|key| {
            let number = |counts: &BTreeMap<Key, u64>| counts.get(key).copied().unwrap_or(0);
            format!("{} {} {}: want {}, got {}", key.0, key.1, key.2, number(want), number(got))
        })
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn equal_lists<T: AsRef<str>>(want: &[&str], got: &[T]) -> Result<()> {
    let got: Vec<&str> = got.iter().map(AsRef::as_ref).collect();
    ensure!(want == got, "want {want:?}, got {got:?}");
    Ok(())
}

fn at_least(want: u64, got: u64) -> Result<()> {
    ensure!(got >= want, "want at least {want}, got {got}");
    Ok(())
}
