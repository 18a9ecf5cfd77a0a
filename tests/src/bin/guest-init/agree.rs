//! Scenario `agree`: two agents, one that has only eBPF and one that has only the audit stream, print the
//! same violations in the same words.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use crate::agent::keep;
use crate::confined;
use crate::console::Report;
use crate::machine::supported;
use crate::records::LATE;
use crate::victim::Victim;

/// How long loading the programs, and later the last event, may take on an emulated machine.
const LIMIT: Duration = Duration::from_secs(30);

/// What only one of the two can know, or says of itself. (The kernel looks the path of the program up while it
/// writes the text: security/apparmor/task.c.)
const OWN: [&str; 9] = [
    "time",
    "origin",
    "sources",
    "tid",
    "cgroup_id",
    "start_boottime",
    "execpath",
    "identified_by",
    "unidentified",
];

/// Files whose opening is denied: until both agents are up, and at the end.
const NUDGE: &str = "/lab/nudge";
const LAST: &str = "/lab/the-last";

fn open(path: &str) -> Result<()> {
    fs::write(path, "")?;
    confined::provoke(acts::ENFORCE, &["--times", "1", "open", path].map(str::to_owned)).map(drop)
}

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let victim = Victim::start()?;
    let agents = [Lone::start("ebpf", 9464)?, Lone::start("audit", 9465)?];
    for agent in &agents {
        agent.wait_until(|events| events.contains(NUDGE), || open(NUDGE))?;
    }
    for (how, _) in acts::POLICY {
        confined::change_policy(how, LATE)?;
    }
    for act in acts::all().iter().filter(|act| supported(act)) {
        confined::provoke(act.profile, &victim.arguments(act))?;
    }
    // The last of them, so that both have all that came before.
    open(LAST)?;
    let mut told = Vec::new();
    for agent in agents {
        agent.wait_until(|events| events.contains(LAST), || Ok(()))?;
        told.push(agent.stop()?);
    }
    let [ebpf, audit] = &told[..] else { bail!("two agents told {} times", told.len()) };
    report.check(
        "both saw violations",
        (|| {
            ensure!(ebpf.len() > 50, "eBPF saw {}", ebpf.len());
            Ok(())
        })(),
    );
    report.check("eBPF and audit tell the same", compare(ebpf, audit));
    Ok(())
}

/// Events by audit stamp, and how many there were before with the same.
type Told = BTreeMap<(String, usize), Map<String, Value>>;

fn compare(ebpf: &Told, audit: &Told) -> Result<()> {
    let mut differences = Vec::new();
    for key in ebpf.keys().chain(audit.keys().filter(|key| !ebpf.contains_key(*key))) {
        let (Some(one), Some(other)) = (ebpf.get(key), audit.get(key)) else {
            let only = if ebpf.contains_key(key) { "eBPF" } else { "audit" };
            differences.push(format!("{key:?} only by {only}: {:?}", ebpf.get(key).or(audit.get(key))));
            continue;
        };
        let unlike: Vec<String> = one
            .keys()
            .chain(other.keys().filter(|name| !one.contains_key(*name)))
            .filter(|name| !OWN.contains(&name.as_str()) && one.get(*name) != other.get(*name))
            // The kernel writes the error only beside a reason; eBPF always has it.
            .filter(|name| *name != "error" || other.contains_key("error"))
            // How the kernel writes that a socket has no address.
            .filter(|name| {
                !(*name == "addr"
                    && other.get("addr").is_some_and(|addr| addr == "none")
                    && !one.contains_key("addr"))
            })
            .map(|name| format!("{name}: {:?} by eBPF, {:?} by audit", one.get(name), other.get(name)))
            .collect();
        if !unlike.is_empty() {
            differences.push(format!(
                "{:?} {:?}: {}",
                one.get("operation"),
                one.get("class"),
                unlike.join(", ")
            ));
        }
    }
    for difference in &differences {
        keep("differences.txt", difference);
    }
    match differences.first() {
        Some(first) => bail!("{} differ, first: {first}", differences.len()),
        None => Ok(()),
    }
}

/// An agent with a single source.
struct Lone {
    child: Child,
    source: &'static str,
}

impl Lone {
    fn start(source: &'static str, port: u16) -> Result<Self> {
        let log = File::create(format!("/tmp/{source}.log"))?;
        let child = Command::new("/bin/aa-monitor")
            .args(["run", "--source", source, "--listen", &format!("127.0.0.1:{port}")])
            .args(["--output", "json", "--output-file", &Self::file(source), "--log-level", "trace"])
            // Two of them on one machine: not what agents are made for.
            .args(["--no-pin", "--state-dir", &format!("/tmp/state-{source}")])
            .args(["--socket", &format!("/tmp/{source}.sock")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the agent")?;
        Ok(Self { child, source })
    }

    fn file(source: &str) -> String {
        format!("/tmp/{source}.json")
    }

    fn events(&self) -> String {
        fs::read_to_string(Self::file(self.source)).unwrap_or_default()
    }

    /// Nudges until the events are as wanted.
    fn wait_until(&self, wanted: impl Fn(&str) -> bool, nudge: impl Fn() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        while !wanted(&self.events()) {
            ensure!(start.elapsed() < LIMIT, "{} did not tell within {LIMIT:?}", self.source);
            nudge()?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Ends it, and reads what it told of what carries a stamp since both were up.
    fn stop(mut self) -> Result<Told> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        self.child.wait()?;
        keep(&format!("{}.log", self.source), &fs::read_to_string(format!("/tmp/{}.log", self.source))?);
        let mut told = Told::new();
        for line in self.events().lines() {
            let Value::Object(event) = serde_json::from_str(line).with_context(|| line.to_owned())? else {
                continue;
            };
            // The first agent up saw more of these than the other.
            if event.get("name").is_some_and(|name| name == NUDGE) {
                continue;
            }
            let stamp = event.get("audit_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let nth = told.keys().filter(|(seen, _)| *seen == stamp).count();
            told.insert((stamp, nth), event);
        }
        Ok(told)
    }
}
