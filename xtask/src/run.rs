//! `cargo xtask run`: the agent at work, on this host or in the lab.

use std::fs;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use aa_monitor_tests::contract::{self, Line};
use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use crate::lab::console::Outcome;
use crate::lab::programs;
use crate::lab::qemu::Stop;
use crate::lab::rig::{Reach, Rig};
use crate::lab::suite::{LIVE, ROUND};
use crate::step::find_program;
use crate::{setup, vm};

/// Runs the agent: here when this host has AppArmor and you may be root, otherwise in the lab.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One round of violations in the lab, a summary, and its verdict as exit code.
    #[arg(long)]
    once: bool,
    /// The lab, also on a host that has AppArmor.
    #[arg(long)]
    lab: bool,
    /// The port of http://127.0.0.1/metrics on this host.
    #[arg(long, default_value_t = 9464)]
    port: u16,
    /// The lab's kernel: a Debian series or the path of a vmlinuz.
    #[arg(long, value_name = "SERIES|PATH", default_value = "6.1")]
    kernel: String,
}

/// Does what the arguments ask for; true when all is well.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.once {
        return once(&arguments.kernel);
    }
    match why_not_here() {
        None if !arguments.lab => return here(arguments.port),
        None => {}
        Some(why) => {
            println!("{why}, so the agent cannot be shown on this host itself.");
            println!("It runs in the lab instead: Debian's kernel {} in QEMU.", arguments.kernel);
        }
    }
    setup::lab()?;
    live(&arguments.kernel, arguments.port)
}

/// One round: the smoke suite's first boot, with its summary.
fn once(kernel: &str) -> Result<bool> {
    setup::lab()?;
    let rig = Rig::ready(kernel)?;
    println!("One round of violations in the lab: kernel {kernel} in QEMU, eBPF and audit together.");
    let mut summary = Vec::new();
    let label = rig.label(&ROUND);
    let outcome = rig.boot(&ROUND, &Reach::alone(&ROUND), &Stop::default(), &mut |text, line| {
        vm::say(&label, text, line);
        if let Some(Line::Summary(text)) = line {
            summary.push(text.clone());
        }
        Ok(())
    })?;
    println!("\n{}\n", summary.join("\n"));
    let tally = vm::judge(&outcome, &label);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0 && tally.passed > 0)
}

/// The lab with a workload that goes on, until Ctrl-C.
fn live(kernel: &str, port: u16) -> Result<bool> {
    // QEMU's own message about a taken port names neither the port nor the way out.
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!("port {port} of this host is taken; stop what listens there or choose another with --port")
    })?);
    let rig = Rig::ready(kernel)?;
    let stop = Stop::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).context("listening for Ctrl-C")?;
    }
    let columns = terminal_size::terminal_size().filter(|_| std::io::stdout().is_terminal());
    let parameters = columns.map_or_else(String::new, |(w, _)| format!("{}={}", contract::COLUMNS, w.0));
    println!("Booting; the first violations appear in about ten seconds.");
    let outcome =
        rig.boot(&LIVE, &Reach { port: Some(port), parameters, limit: None }, &stop, &mut |text, line| {
            match line {
                Some(Line::Ready(path)) => {
                    println!("http://127.0.0.1:{port}{path} answers. Ctrl-C ends the machine.");
                }
                Some(Line::Check { .. }) => vm::say("lab", text, line),
                None if !is_kernel_message(text) => println!("{text}"),
                Some(_) | None => {}
            }
            Ok(())
        })?;
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        println!("\nThe machine is off.");
        return Ok(true);
    }
    if let Outcome::Stalled(why) | Outcome::Broken(why) = outcome {
        println!("The machine ended by itself: {why}.");
    }
    println!("The console is in {}.", rig.logs(&LIVE).display());
    Ok(false)
}

/// `[    1.234567] text`
fn is_kernel_message(text: &str) -> bool {
    text.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit()))
}

/// What keeps the agent from this host, if anything does.
fn why_not_here() -> Option<&'static str> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|text| text.trim() == "Y") {
        let root = geteuid().is_root() || find_program("sudo").is_some();
        (!root).then_some("You are not root and there is no sudo")
    } else {
        Some("This host's kernel has no AppArmor")
    }
}

/// The agent on this host, in the foreground: Ctrl-C goes to it.
fn here(port: u16) -> Result<bool> {
    setup::build()?;
    // The static build that the lab boots serves here as well.
    let agent = programs::build()?.join("aa-monitor");
    let mut command = if geteuid().is_root() {
        Command::new(&agent)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(&agent);
        sudo
    };
    command.args(["run", "--output", "table", "--listen", &format!("127.0.0.1:{port}")]);
    println!("This host has AppArmor: the agent runs here; http://127.0.0.1:{port}/metrics. Ctrl-C ends it.");
    // The agent handles Ctrl-C; this process must outlive it to report its end.
    let stop = Stop::default();
    signal_hook::flag::register(signal_hook::consts::SIGINT, stop).context("listening for Ctrl-C")?;
    let status = command.status().with_context(|| format!("starting {}", agent.display()))?;
    ensure!(status.success(), "the agent ended: {status}");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::is_kernel_message;

    #[test]
    fn kernel_messages_are_told_from_the_table() {
        let rows = [
            ("[    1.761828] reboot: Power down", true),
            ("[1234.5] x", true),
            ("[denied] open", false),
            ("04:21:25 denied file open lab-enforce", false),
            ("", false),
        ];
        for (text, want) in rows {
            assert_eq!(is_kernel_message(text), want, "{text}");
        }
    }
}
