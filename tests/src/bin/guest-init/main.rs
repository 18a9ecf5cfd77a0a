//! Process 1 of the lab's guest: sets the machine up, plays the scenario that the kernel command line
//! names, says what it found on the serial console and powers off.

use std::process::ExitCode;

use aa_monitor_tests::contract::{self, Line};
use anyhow::{Context, Result, bail};
use nix::sys::reboot::{RebootMode, reboot};

mod agent;
mod agree;
mod auditd;
mod authors;
mod bundle;
mod burst;
mod confined;
mod console;
mod containers;
mod cost;
mod counters;
mod crowd;
mod denials;
mod faults;
mod figures;
mod identity;
mod idle;
mod image;
mod kernel_log;
mod kubernetes;
mod machine;
mod memory;
mod oci;
mod programs;
mod records;
mod recover;
mod restart;
mod shop;
mod silent;
mod smoke;
mod start;
mod storm;
mod victim;
mod workload;

use console::Report;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        console::say("guest-init is process 1 of the lab's guest; start it with `cargo xtask vm`");
        return ExitCode::from(64);
    }
    // A panic must not leave the host waiting for its time limit.
    std::panic::set_hook(Box::new(|panic| {
        console::say(&Line::Check { name: "guest-init".into(), failure: Some(panic.to_string()) });
        power_off();
    }));
    let mut report = Report::default();
    if let Err(error) = play(&mut report) {
        report.check("guest", Err(error));
        agent::Agent::say_log();
    }
    report.verdict();
    power_off();
    ExitCode::SUCCESS
}

fn play(report: &mut Report) -> Result<()> {
    let command_line = machine::set_up()?;
    let parameter = |name: &str| {
        command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    confined::load("/etc/apparmor.d/lab.profiles")?;
    let scenario = parameter(contract::SCENARIO)
        .with_context(|| format!("the kernel command line lacks {}", contract::SCENARIO))?;
    match scenario {
        "smoke" => smoke::play(report, parameter(contract::SOURCE).unwrap_or("auto")),
        "agree" => agree::play(report),
        "start" => start::play(report),
        "workload" => workload::play(parameter(contract::COLUMNS)),
        "cost" => cost::play(report),
        "idle" => idle::play(report),
        "crowd" => crowd::play(report),
        "burst" => burst::play(report),
        "programs" => programs::play(report),
        "identity" => {
            if parameter(contract::CGROUPS) == Some("v1") {
                machine::mount_cgroup_v1()?;
            }
            identity::play(report, parameter(contract::SOURCE).unwrap_or("auto"))
        }
        "containers" => containers::play(report),
        "storm" => storm::play(report),
        "restart" => restart::play(report, false),
        "upgrade" => restart::play(report, true),
        "silent" => silent::play(report),
        "recover" => recover::play(report),
        "faults" => faults::play(report),
        "shop" => shop::play(),
        "kubernetes" => {
            let source = parameter(contract::SOURCE).unwrap_or("auto");
            kubernetes::play(report, agent::Chart::of_source(source))
        }
        "denials" => denials::play(report),
        "authors" => authors::play(report),
        "image" => image::play(report),
        "records" => records::play(report),
        _ => bail!("there is no scenario called {scenario}"),
    }
}

fn power_off() {
    nix::unistd::sync();
    // Returns only when it fails; the host's time limit is the way out then.
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    console::say(&format!("cannot power off: {error}"));
}
