//! Many violations: numbered, in a storm, or slowly.

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::Operation;
use crate::Perform::Two;

pub(crate) const OPERATIONS: &[Operation] = &[
    ("stream", "PREFIX MICROSECONDS", Two(stream)),
    ("storm", "PATH PROCESSESxTIMES", Two(storm)),
    ("paced", "PATH TIMESxMICROSECONDS", Two(paced)),
    ("numbered", "PREFIX TIMESxMICROSECONDS", Two(numbered)),
];

/// Made when a stream is to end.
const STOP: &str = "/lab/granted/stop";

/// Creates PREFIX0, PREFIX1 and so on, which is refused, until it is told to stop; says how many.
fn stream(prefix: &str, pause: &str) -> nix::Result<()> {
    let pause = Duration::from_micros(pause.parse().map_err(|_| Errno::EINVAL)?);
    let mut count = 0_u64;
    while !Path::new(STOP).exists() {
        make(prefix, count)?;
        count += 1;
        thread::sleep(pause);
    }
    writeln!(std::io::stdout(), "count: {count}").map_err(|_| Errno::EIO)
}

/// Has several processes read a file, which is refused, as fast as they can.
fn storm(path: &str, spec: &str) -> nix::Result<()> {
    let (processes, times) = numbers(spec)?;
    for _ in 0..processes {
        #[expect(unsafe_code, reason = "processes, not threads: each has a storm of its own")]
        // SAFETY: this program has a single thread.
        if let ForkResult::Child = unsafe { fork() }? {
            let refused = (0..times).all(|_| read(path) == Err(Errno::EACCES));
            std::process::exit(i32::from(!refused));
        }
    }
    for _ in 0..processes {
        match waitpid(None, None)? {
            nix::sys::wait::WaitStatus::Exited(_, 0) => {}
            _ => return Err(Errno::ECHILD),
        }
    }
    Err(Errno::EACCES)
}

fn paced(path: &str, spec: &str) -> nix::Result<()> {
    let (times, pause) = numbers(spec)?;
    for _ in 0..times {
        if read(path) != Err(Errno::EACCES) {
            return Err(Errno::EEXIST);
        }
        thread::sleep(Duration::from_micros(pause));
    }
    Err(Errno::EACCES)
}

/// The same so many times.
fn numbered(prefix: &str, spec: &str) -> nix::Result<()> {
    let (times, pause) = numbers(spec)?;
    for number in 0..times {
        make(prefix, number)?;
        thread::sleep(Duration::from_micros(pause));
    }
    Err(Errno::EACCES)
}

/// Creates a numbered file, and fails unless that is refused.
fn make(prefix: &str, number: u64) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT;
    let made = open(format!("{prefix}{number}").as_str(), flags, Mode::S_IRUSR).map(drop);
    if made == Err(Errno::EACCES) { Ok(()) } else { made.and(Err(Errno::EEXIST)) }
}

fn read(path: &str) -> nix::Result<()> {
    open(path, OFlag::O_RDONLY, Mode::empty()).map(drop)
}

fn numbers(spec: &str) -> nix::Result<(u64, u64)> {
    let (first, second) = spec.split_once('x').ok_or(Errno::EINVAL)?;
    let number = |text: &str| text.parse().map_err(|_| Errno::EINVAL);
    Ok((number(first)?, number(second)?))
}
