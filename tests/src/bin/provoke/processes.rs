//! Signals, tracing, user namespaces and profile changes.

use std::fs::OpenOptions;
use std::io::Write;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::Operation;
use crate::Perform::{Nothing, One, Two};

pub(crate) const OPERATIONS: &[Operation] = &[
    // SIGWINCH is ignored by default: the receiver lives on when the signal is let through.
    ("signal", "PID", One(|to| kill(pid(to)?, Signal::SIGWINCH))),
    // Seizing does not stop the other process, and ends with this one.
    ("ptrace", "PID", One(|of| ptrace::seize(pid(of)?, ptrace::Options::empty()))),
    ("swarm", "N PATH", Two(swarm)),
    ("roam", "FOLDER PATH", Two(roam)),
    ("pause", "SECONDS", One(pause)),
    // Violates nothing: a container that stays.
    (
        "wait",
        "",
        Nothing(|| {
            nix::unistd::pause();
            Ok(())
        }),
    ),
    ("userns", "", Nothing(|| unshare(CloneFlags::CLONE_NEWUSER))),
    ("change_profile", "PROFILE", One(|to| tell("current", &format!("changeprofile {to}")))),
    ("change_onexec", "PROFILE", One(|to| tell("exec", &format!("exec {to}")))),
    ("change_hat", "HAT", One(change_hat)),
    ("in_hat", "HAT PATH", Two(in_hat)),
];

/// What a task must know to leave a hat.
const TOKEN: &str = "0000000012345678";

fn change_hat(hat: &str) -> nix::Result<()> {
    tell("current", &format!("changehat {TOKEN}^{hat}"))
}

/// Opens a file in a hat, and leaves the hat.
fn in_hat(hat: &str, path: &str) -> nix::Result<()> {
    change_hat(hat)?;
    let end = open(path, OFlag::O_RDONLY, Mode::empty()).map(drop);
    change_hat("")?;
    end
}

fn pid(argument: &str) -> nix::Result<Pid> {
    argument.parse().map(Pid::from_raw).map_err(|_| Errno::EINVAL)
}

/// Goes into each cgroup of a folder in turn, and opens a file for writing there.
fn roam(folder: &str, path: &str) -> nix::Result<()> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let mut end = Ok(());
    for entry in std::fs::read_dir(folder).map_err(errno)? {
        let procs = entry.map_err(errno)?.path().join("cgroup.procs");
        if procs.exists() {
            std::fs::write(procs, "0").map_err(errno)?;
            end = open(path, OFlag::O_WRONLY, Mode::empty()).map(drop);
        }
    }
    end
}

/// One process after the other opens a file and is gone before it could say how that went.
fn swarm(number: &str, path: &str) -> nix::Result<()> {
    let number: u32 = number.parse().map_err(|_| Errno::EINVAL)?;
    let path = std::ffi::CString::new(path).map_err(|_| Errno::EINVAL)?;
    for _ in 0..number {
        #[expect(unsafe_code, reason = "a process without an exec of its own ends soonest")]
        // SAFETY: this process has one thread, and the child calls nothing but open and _exit.
        unsafe {
            match fork()? {
                ForkResult::Child => {
                    libc::open(path.as_ptr(), libc::O_RDONLY);
                    libc::_exit(0);
                }
                ForkResult::Parent { child } => waitpid(child, None).map(drop)?,
            }
        }
    }
    Ok(())
}

fn pause(seconds: &str) -> nix::Result<()> {
    let seconds = seconds.parse().map_err(|_| Errno::EINVAL)?;
    std::thread::sleep(std::time::Duration::from_secs(seconds));
    Ok(())
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
