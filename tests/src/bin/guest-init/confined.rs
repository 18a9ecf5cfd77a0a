//! Loading profiles and running programs under them.

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long a process may take to become its program, on an emulated machine.
const BEGIN_LIMIT: Duration = Duration::from_secs(20);

/// Compiles and loads profiles. They must be new to the kernel.
pub(crate) fn load(path: &str) -> Result<()> {
    change_policy("--add", path)
}

/// Adds, replaces or removes the profiles of a file.
pub(crate) fn change_policy(how: &str, path: &str) -> Result<()> {
    let end = Command::new("/sbin/apparmor_parser")
        .args([how, "--skip-cache", "--quiet", path])
        .output()
        .context("starting apparmor_parser")?;
    ensure!(
        end.status.success(),
        "apparmor_parser {how} {path}: {}",
        String::from_utf8_lossy(&end.stderr).trim()
    );
    Ok(())
}

/// Runs `provoke` under `profile` until it ends.
pub(crate) fn provoke(profile: &str, arguments: &[String]) -> Result<Output> {
    let output = command(profile, arguments).output();
    output.with_context(|| format!("running provoke {} under {profile}", arguments.join(" ")))
}

/// `provoke` under `profile`.
pub(crate) fn command(profile: &str, arguments: &[String]) -> Command {
    program(profile, "/bin/provoke", arguments)
}

/// A program that will run under `profile`.
pub(crate) fn program(profile: &str, program: &str, arguments: &[String]) -> Command {
    let request = format!("exec {profile}");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // Only async-signal-safe calls: open, write, close; the text was made before the fork.
    let confine = move || -> io::Result<()> { fs::write("/proc/thread-self/attr/apparmor/exec", &request) };
    #[expect(unsafe_code, reason = "the profile of the next exec is set by the task itself")]
    // SAFETY: the closure allocates only the path's C string, in a process with a single thread.
    unsafe {
        command.pre_exec(confine);
    }
    command
}

/// Waits until a process runs under `profile`: it does once it is the program.
pub(crate) fn until_confined(pid: impl Display, profile: &str) -> Result<()> {
    let start = Instant::now();
    let label = format!("/proc/{pid}/attr/apparmor/current");
    while !fs::read_to_string(&label).with_context(|| format!("reading {label}"))?.starts_with(profile) {
        ensure!(start.elapsed() < BEGIN_LIMIT, "{pid} is not under {profile}");
    }
    Ok(())
}
