//! Running QEMU: one boot, its console read line by line, its end forced when it does not come.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::console::{Console, Outcome};

/// Set to end a boot early.
pub(crate) type Stop = Arc<AtomicBool>;

/// What is done with each line of the console, and with what it means.
pub(crate) type See<'a> = dyn FnMut(&str, Option<&Line>) -> Result<()> + 'a;

/// One boot.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) vmlinuz: &'a Path,
    pub(crate) image: &'a Path,
    /// Added to the kernel command line.
    pub(crate) parameters: String,
    /// A port of this host that leads to the guest's 9464.
    pub(crate) host_port: Option<u16>,
    /// After this time the boot is ended; `None` for one that the user ends.
    pub(crate) limit: Option<Duration>,
    /// Whether the machine's clock counts instructions instead of time: one is a nanosecond, so that what is
    /// timed in the guest repeats exactly, whatever this machine is doing.
    pub(crate) counting: bool,
    /// Where the console's text and the guest's files go.
    pub(crate) logs: PathBuf,
}

/// A running QEMU; ended when dropped.
struct Guard(Child);

impl Drop for Guard {
    /// Asks first: QEMU closes what it has open on SIGTERM. It may have ended by itself; the calls fail then,
    /// and nothing is left to do.
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        for _ in 0..40 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Boots, hands each line of the console to `see`, and says how it ended. `stop` ends it early.
    pub(crate) fn boot(&self, stop: &Stop, see: &mut See<'_>) -> Result<Outcome> {
        fs::create_dir_all(&self.logs).with_context(|| format!("making {}", self.logs.display()))?;
        let mut log = fs::File::create(self.logs.join("console.log")).context("creating console.log")?;
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context("starting qemu-system-x86_64; way out: `cargo xtask setup`")?;
        let stdout = child.stdout.take().context("qemu has no standard output")?;
        let guard = Guard(child);
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
                if sender.send(text).is_err() {
                    return;
                }
                bytes.clear();
            }
        });

        let start = Instant::now();
        let mut console = Console::default();
        let mut files = Files::new(&self.logs);
        let mut expired = None;
        loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(text) => {
                    writeln!(log, "{text}")?;
                    let line = console.take(&text);
                    if let Some(Line::File { name, text }) = &line {
                        files.append(name, text)?;
                    }
                    see(&text, line.as_ref())?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            expired = self.limit.filter(|limit| start.elapsed() > *limit).map(|limit| limit.as_secs());
            if console.settled() || expired.is_some() || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        drop(guard);
        Ok(console.outcome(expired))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        // Not KVM, which hangs on nested hosts; one thread, because TCG's many threads stall now and then.
        command.args(["-accel", "tcg,thread=single", "-cpu", "max", "-m", "2048"]);
        if self.counting {
            command.args(["-smp", "1", "-icount", "shift=0,sleep=off"]);
        } else {
            command.args(["-smp", "2"]);
        }
        command.args([
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
        ]);
        command.arg("-kernel").arg(self.vmlinuz).arg("-initrd").arg(self.image);
        let mut network = String::from("user,id=n,restrict=on");
        if let Some(port) = self.host_port {
            network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{port}-:9464"));
        }
        command.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=n,romfile="]);
        let fixed = "console=ttyS0 quiet panic=-1 apparmor=1 security=apparmor log_buf_len=4M";
        command.arg("-append").arg(format!("{fixed} {}", self.parameters));
        command
    }
}

/// The files that a guest says line by line.
struct Files<'a> {
    folder: &'a Path,
    begun: Vec<String>,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path) -> Self {
        Self { folder, begun: Vec::new() }
    }

    fn append(&mut self, name: &str, text: &str) -> Result<()> {
        let first = !self.begun.iter().any(|known| known == name);
        if first {
            self.begun.push(name.to_owned());
        }
        let path = self.folder.join(name);
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).write(true).append(!first).truncate(first).open(&path);
        let mut file = file.with_context(|| format!("opening {}", path.display()))?;
        writeln!(file, "{text}").with_context(|| format!("writing {}", path.display()))
    }
}
