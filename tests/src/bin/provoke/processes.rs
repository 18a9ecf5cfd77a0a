//! Signals, tracing, user namespaces and profile changes.

use std::fs::OpenOptions;
use std::io::Write;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pause};

use crate::Operation;
use crate::Perform::{Nothing, One};

pub(crate) const OPERATIONS: &[Operation] = &[
    // SIGWINCH is ignored by default: the receiver lives on when the signal is let through.
    ("signal", "PID", One(|to| kill(pid(to)?, Signal::SIGWINCH))),
    // Seizing does not stop the other process, and ends with this one.
    ("ptrace", "PID", One(|of| ptrace::seize(pid(of)?, ptrace::Options::empty()))),
    // Violates nothing: a container that stays.
    (
        "wait",
        "",
        Nothing(|| {
            pause();
            Ok(())
        }),
    ),
    ("userns", "", Nothing(|| unshare(CloneFlags::CLONE_NEWUSER))),
    ("change_profile", "PROFILE", One(|to| tell("current", &format!("changeprofile {to}")))),
    ("change_onexec", "PROFILE", One(|to| tell("exec", &format!("exec {to}")))),
    ("change_hat", "HAT", One(|hat| tell("current", &format!("changehat 0000000012345678^{hat}")))),
];

fn pid(argument: &str) -> nix::Result<Pid> {
    argument.parse().map(Pid::from_raw).map_err(|_| Errno::EINVAL)
}

/// Writes to one of this task's AppArmor attributes.
fn tell(attribute: &str, command: &str) -> nix::Result<()> {
    let path = format!("/proc/thread-self/attr/apparmor/{attribute}");
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(command.as_bytes()))
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
