//! How long `aa-monitor tail` takes to show a denial, on a machine that does nothing else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const TIMES: usize = 200;
/// Between two denials: the agent has nothing to do any more.
const PAUSE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(10);
/// The promise, for 99 of 100.
const LIMIT: Duration = Duration::from_millis(100);
/// A profile of the lab that grants almost nothing.
const PROFILE: &str = "lab-enforce";

/// Denials, each awaited in what `tail` prints; what the times were, when the promise was kept.
pub(crate) fn prompt() -> Result<String> {
    let mut tail = Command::new("/bin/aa-monitor")
        .args(["tail", "--json", "--profile", PROFILE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting tail")?;
    let measured = measure(&mut tail);
    // It follows until it is ended.
    let _ = tail.kill();
    let _ = tail.wait();
    let mut times = measured?;
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100 - 1).copied().unwrap_or_default();
    let said = format!("median {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
    ensure!(at(99) <= LIMIT, "{said}");
    Ok(said)
}

fn measure(tail: &mut Child) -> Result<Vec<Duration>> {
    let output = tail.stdout.take().context("tail has no output")?;
    let (to, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if to.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    // Confined is the thread that asks, and nobody else; it never gets out again.
    let denied = thread::spawn(move || ask(&lines));
    denied.join().map_err(|_| anyhow::anyhow!("a panic"))?
}

fn ask(lines: &Receiver<(Instant, String)>) -> Result<Vec<Duration>> {
    let name = |number: usize| format!("/tmp/tail-{number:03}");
    for number in 0..=TIMES {
        fs::write(name(number), "")?;
    }
    fs::write("/proc/thread-self/attr/apparmor/current", format!("changeprofile {PROFILE}"))
        .with_context(|| format!("changing to {PROFILE}"))?;
    // Until tail listens, nothing is shown: the first file is asked for again and again.
    let start = Instant::now();
    loop {
        deny(&name(0))?;
        if lines.recv_timeout(Duration::from_millis(500)).is_ok() {
            break;
        }
        ensure!(start.elapsed() < PATIENCE, "tail shows nothing");
    }
    let mut times = Vec::new();
    for number in 1..=TIMES {
        thread::sleep(PAUSE);
        let before = Instant::now();
        deny(&name(number))?;
        times.push(loop {
            let (at, line) = lines
                .recv_timeout(PATIENCE)
                .with_context(|| format!("tail does not show number {number}"))?;
            if line.contains(&name(number)) {
                break at.duration_since(before);
            }
        });
    }
    Ok(times)
}

fn deny(path: &str) -> Result<()> {
    match fs::File::open(path) {
        Ok(_) => bail!("{path} could be opened"),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).with_context(|| format!("opening {path}")),
    }
}
