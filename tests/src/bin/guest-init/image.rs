//! Scenario `image`: the image that `cargo xtask dist` made, run by podman with the very commands of docs/install.md.
//! It is small, has the capabilities of the chart's default and no others, counts what is denied on the machine and in
//! others of podman's containers, also while it is stopped, and raises no AppArmor record of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::contract::IMAGE_LIMIT;
use aa_monitor_tests::scrape::sum;
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::agent::{self, Chart, keep};
use crate::bundle::Bundle;
use crate::confined;
use crate::console::Report;
use crate::counters::{EVENTS, LOST, equal, settle};
use crate::kernel_log::KernelLog;

/// Where the host put the archive, and the page's commands as a script.
const FOLDER: &str = "/lab/install";
const COMMANDS: &str = "commands";
const ARCHIVE: &str = "aa-monitor-amd64.oci.tar";
/// What the page calls the container.
const NAME: &str = "aa-monitor";
/// Other containers, whose profile refuses them something: one that stays when it has ended, and one that does not.
const VICTIMS: [(&str, &[&str]); 2] = [("victim", &[]), ("fleeting", &["--rm"])];

/// Denials on the machine, in each container, and on the machine while the agent is stopped.
const HOST: u64 = 4;
const CONTAINER: u64 = 3;
const MEANWHILE: u64 = 2;

/// Denials before the agent is stopped.
const FIRST: u64 = HOST + CONTAINER * VICTIMS.len() as u64;

/// The agent drains within 5 s; podman itself takes its time on an emulated machine.
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// Plays the scenario.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    prepare()?;
    let weight = fs::metadata(Path::new(FOLDER).join(ARCHIVE)).context("weighing the image")?.len();
    let light = weight <= u64::from(IMAGE_LIMIT) << 20;
    report.check(
        &format!("the image has {:.2} MiB, and may have {IMAGE_LIMIT}", weight as f64 / f64::from(1 << 20)),
        light.then_some(()).context("it is too large"),
    );
    let mut log = KernelLog::open()?;
    log.records()?;
    let script = fs::read_to_string(Path::new(FOLDER).join(COMMANDS)).context("reading the commands")?;
    keep("commands", &script);
    let ran = run("/bin/sh", &["-e", COMMANDS]).and_then(Said::well);
    let failed = ran.is_err();
    report.check("podman runs it by the commands of docs/install.md", ran.map(drop));
    if !failed {
        report.check("the agent becomes ready", agent::until_ready(go_on));
        report.check("eBPF delivers, alone", agent::until_sources(Chart::Default.sources(), go_on));
        report.check("it has the capabilities of the chart's default and no others", privileges());
        report.check("check in the container is green", check());
        report.check("denials on the machine and in containers are counted, and named", denials());
        report.check("status in the container tells them", status());
        report.check("audit_read and audit_write together open the audit stream", audit());
        report.check("podman stop ends it with 0 in time", stop());
        report.check("what is denied meanwhile is counted by the next agent", meanwhile());
        report.check("nothing else was reported", records(&mut log));
    }
    keep("agent.log", &run("/usr/bin/podman", &["logs", NAME])?.text());
    Ok(())
}

/// What a host has and the lab's guest lacks.
fn prepare() -> Result<()> {
    for folder in ["/dev/shm", "/root", "/run", "/var/lib", "/var/tmp"] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    for folder in ["/dev/shm", "/run"] {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting a tmpfs on {folder}"))?;
    }
    Ok(())
}

/// What a program said, and how it ended.
struct Said {
    what: String,
    status: ExitStatus,
    out: String,
    err: String,
}

impl Said {
    fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// Its output, if it ended with 0.
    fn well(self) -> Result<String> {
        ensure!(self.status.success(), "{}: {}: {}", self.what, self.status, self.text().trim());
        Ok(self.out)
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<Said> {
    let (out, err) = ("/tmp/image.out", "/tmp/image.err");
    // Files, not pipes: what podman leaves running inherits them and would keep a pipe open.
    let status = Command::new(program)
        .args(arguments)
        .current_dir(FOLDER)
        .env_clear()
        .envs([("PATH", "/usr/bin:/usr/sbin:/bin:/sbin"), ("HOME", "/root")])
        .stdin(Stdio::null())
        .stdout(fs::File::create(out)?)
        .stderr(fs::File::create(err)?)
        .status()
        .with_context(|| format!("starting {program}"))?;
    let what = format!("{program} {}", arguments.join(" "));
    Ok(Said { what, status, out: fs::read_to_string(out)?, err: fs::read_to_string(err)? })
}

fn podman(arguments: &[&str]) -> Result<String> {
    run("/usr/bin/podman", arguments)?.well()
}

/// Asks podman about the agent's container.
fn inspect(what: &str) -> Result<String> {
    let answer = podman(&["inspect", "--format", &format!("{{{{.State.{what}}}}}"), NAME])?;
    Ok(answer.trim().to_owned())
}

/// Whether the agent's container still runs is not asked while it starts: podman takes a second to say it, and the
/// process has another name for a while.
fn go_on() -> Result<()> {
    Ok(())
}

fn privileges() -> Result<()> {
    let pid = inspect("Pid")?;
    let number = pid.parse().with_context(|| format!("the container's process is {pid:?}"))?;
    agent::check_capabilities(number, Chart::Default)?;
    let mounts =
        fs::read_to_string(format!("/proc/{pid}/mounts")).context("reading the container's mounts")?;
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).context("no root")?;
    let read_only = root.split(' ').nth(3).is_some_and(|options| options.split(',').any(|word| word == "ro"));
    ensure!(read_only, "its root is not read-only: {root}");
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        ensure!(status.lines().any(|found| found == line), "no {line:?} in {status}");
    }
    let label = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current"))?;
    ensure!(label.trim() == "unconfined", "it runs under {label}");
    Ok(())
}

fn check() -> Result<()> {
    let said = run("/usr/bin/podman", &["exec", NAME, "aa-monitor", "check"])?;
    keep("check.txt", &said.text());
    agent::all_well(said.status, &said.out)
}

/// Opens the lab's secret under the enforcing profile.
fn provoke(times: u64) -> Result<()> {
    let end = confined::provoke(
        ENFORCE,
        &["--times", &times.to_string(), "open", "/lab/secret"].map(str::to_owned),
    )?;
    ensure!(end.status.code() == Some(1), "provoke: {}", end.status);
    Ok(())
}

fn denials() -> Result<()> {
    provoke(HOST)?;
    for (name, options) in VICTIMS {
        victim(name, options).with_context(|| format!("container {name}"))?;
    }
    let (text, samples) = settle(FIRST)?;
    keep("metrics.prom", &text);
    let containers = VICTIMS.iter().map(|(name, _)| (*name, CONTAINER));
    for (container, want) in containers.chain([("", HOST)]) {
        let labels = [("profile", ENFORCE), ("operation", "open"), ("container", container)];
        equal(want, sum(&samples, EVENTS, &labels)).with_context(|| format!("of container {container:?}"))?;
    }
    equal(FIRST, sum(&samples, EVENTS, &[])).context("of all")?;
    equal(0, sum(&samples, LOST, &[])).context("lost")
}

/// Runs a container under the enforcing profile, until it has been refused what it tries.
fn victim(name: &str, options: &[&str]) -> Result<()> {
    let folder = Path::new("/tmp").join(name);
    // The root file system is taken of it; podman makes the rest.
    Bundle { cgroup: "", profile: ENFORCE, arguments: &[], secret: Some("/lab/secret") }.write(&folder)?;
    let (profile, root) = (format!("apparmor={ENFORCE}"), folder.join("rootfs"));
    let run_as = ["run", "--name", name, "--network", "host", "--security-opt", &profile];
    let (root, times) = (root.to_string_lossy(), CONTAINER.to_string());
    let does = ["--rootfs", &root, "/bin/provoke", "--times", &times, "open", "/lab/secret"];
    let end = run("/usr/bin/podman", &[&run_as, options, &does].concat())?;
    ensure!(end.status.code() == Some(1), "{}: {}", end.status, end.text().trim());
    Ok(())
}

/// Whether the audit stream can be joined in a container, and what `check` says where it cannot.
fn audit() -> Result<()> {
    let image = podman(&["inspect", "--format", "{{.ImageName}}", NAME])?;
    let refused = "fail  audit           the container's seccomp profile refuses audit sockets";
    for (capabilities, want) in [
        (&["--cap-add", "audit_read"][..], refused),
        (
            &["--cap-add", "audit_read", "--cap-add", "audit_write"],
            "ok    audit           the stream can be joined",
        ),
    ] {
        let run_as = [
            "run",
            "--rm",
            "--network",
            "host",
            "--security-opt",
            "apparmor=unconfined",
            "--cap-drop",
            "all",
        ];
        let does = [image.trim(), "check", "--source", "audit"];
        let said = run("/usr/bin/podman", &[&run_as, capabilities, &does].concat())?;
        let found = said.out.lines().any(|line| line.starts_with(want));
        ensure!(found, "with {capabilities:?}: no {want:?} in {}", said.text());
    }
    Ok(())
}

fn status() -> Result<()> {
    let text = podman(&["exec", NAME, "aa-monitor", "status"])?;
    keep("status.txt", &text);
    let line = text.lines().find(|line| line.starts_with(ENFORCE)).with_context(|| text.clone())?;
    ensure!(line.contains("enforce"), "{line}");
    Ok(())
}

fn stop() -> Result<()> {
    let start = Instant::now();
    podman(&["stop", NAME])?;
    let took = start.elapsed();
    let (state, code) = (inspect("Status")?, inspect("ExitCode")?);
    ensure!((&*state, &*code) == ("exited", "0"), "it is {state}, with {code}");
    ensure!(took < STOP_LIMIT, "it took {took:?}");
    Ok(())
}

fn meanwhile() -> Result<()> {
    provoke(MEANWHILE)?;
    podman(&["start", NAME])?;
    agent::until_ready(go_on)?;
    agent::until_sources(Chart::Default.sources(), go_on)?;
    let (_, samples) = settle(MEANWHILE)?;
    equal(MEANWHILE, sum(&samples, EVENTS, &[("profile", ENFORCE), ("operation", "open")]))?;
    equal(MEANWHILE, sum(&samples, EVENTS, &[])).context("of all")
}

/// The kernel wrote down what was provoked, and no more: neither about the agent nor about podman.
fn records(log: &mut KernelLog) -> Result<()> {
    let (provoked, others): (Vec<_>, Vec<_>) =
        log.records()?.into_iter().partition(|record| record.contains("name=\"/lab/secret\""));
    ensure!(others.is_empty(), "{others:?}");
    equal(FIRST + MEANWHILE, provoked.len() as u64)
}
