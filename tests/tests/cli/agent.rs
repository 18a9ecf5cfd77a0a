//! The `aa-monitor` binary as a user has it: started, asked, stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const STATE_DIR: &str = "AA_MONITOR_STATE_DIR";
/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary: `AA_MONITOR_BIN`, or built here and now.
pub(crate) fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("AA_MONITOR_BIN") {
                return path.into();
            }
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--package", "aa-monitor", "--bin", "aa-monitor"])
                .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
                .status()
                .expect("cargo runs");
            assert!(built.success(), "aa-monitor builds");
            // This test is target/debug/deps/cli-<hash>.
            let test = std::env::current_exe().expect("a path of its own");
            test.ancestors().nth(2).expect("a target directory").join("aa-monitor")
        })
        .clone()
}

/// `aa-monitor` with these arguments, and nothing of this process's environment that would configure it.
pub(crate) fn unset(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AA_MONITOR_") {
            command.env_remove(name);
        }
    }
    command
}

/// The same with a folder of its own for what it writes.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = unset(args);
    // Each its own: agents that share one refuse to run beside each other. Nothing is left on the machine.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let home = std::env::temp_dir().join(format!("aa-monitor-{}-{number}", std::process::id()));
    command.env(STATE_DIR, home.join("state")).env("AA_MONITOR_SOCKET", home.join("socket"));
    command.env("AA_MONITOR_NO_PIN", "true");
    command
}

/// The folder that [`command`] gave a command for what it writes.
fn home(command: &Command) -> PathBuf {
    let state = command.get_envs().find(|(name, _)| *name == STATE_DIR).and_then(|(_, value)| value);
    Path::new(state.expect("a state directory")).parent().expect("a folder of its own").to_owned()
}

/// Runs `aa-monitor` to its end.
pub(crate) fn output(args: &[&str]) -> Output {
    let mut command = command(args);
    let output = command.output().expect("aa-monitor starts");
    // Most write nothing.
    let _ = std::fs::remove_dir_all(home(&command));
    output
}

/// An agent that runs, and is killed when it is dropped.
pub(crate) struct Agent {
    child: Child,
    home: PathBuf,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    log: Receiver<String>,
}

impl Agent {
    /// Starts `aa-monitor run` on a port of its own, and waits until it serves.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_by(&[], args)
    }

    /// The same by a program that changes something about its process and becomes the agent.
    pub(crate) fn start_by(program: &[&str], args: &[&str]) -> Self {
        let args = [&["run", "--listen", "127.0.0.1:0"], args].concat();
        let mut command = command(&args);
        let home = home(&command);
        if let [program, flags @ ..] = program {
            let mut by = Command::new(program);
            by.args(flags).arg(command.get_program()).args(command.get_args());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => by.env(name, value),
                    None => by.env_remove(name),
                };
            }
            command = by;
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("aa-monitor starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (to, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have seen enough.
                let _ = to.send(line);
            }
        });
        let mut agent = Self { child, home, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let line = agent.wait_for("serving http://");
        let (_, rest) = line.split_once("http://").expect("an address");
        agent.address = rest.split('/').next().expect("an address").parse().expect("an address");
        agent
    }

    /// The next log line that contains `part`.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        self.lines_until(part).pop().expect("that line")
    }

    /// The log lines up to the next that contains `part`, with that one.
    pub(crate) fn lines_until(&mut self, part: &str) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            seen.push(line);
            if seen.last().is_some_and(|line| line.contains(part)) {
                return seen;
            }
        }
        panic!("no log line with {part:?} in {seen:#?}");
    }

    /// The agent's standard output, once.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("not taken before")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid"));
        kill(pid, signal).expect("the agent is there");
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One HTTP request; the head and the body of the answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("the agent listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }

    /// `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        self.request("GET", "/metrics").1
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
