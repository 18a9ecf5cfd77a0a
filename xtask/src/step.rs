//! Running commands: quietly when they are quick, with a line of progress when they take longer than two
//! seconds, and with everything the reader needs when they fail.

use std::fmt::Write as _;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

const QUIET: Duration = Duration::from_secs(2);
const REMIND: Duration = Duration::from_secs(20);
/// How much of a failed command's output is shown.
const TAIL_LINES: usize = 40;

/// What a command is run for, and what the reader can do when it fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// For example `bpf-linker 0.10.4`.
    pub(crate) name: &'a str,
    /// A sentence in the imperative.
    pub(crate) way_out: &'a str,
}

impl Step<'_> {
    /// Runs a command to its end and returns its standard output.
    pub(crate) fn run(&self, command: &mut Command) -> Result<String> {
        let start = Instant::now();
        let end = self.finish(command)?;
        if end.success && start.elapsed() >= QUIET {
            println!("  {}: done in {} s", self.name, start.elapsed().as_secs());
        }
        if end.success { Ok(end.stdout) } else { Err(self.failure(command, &end.text())) }
    }

    /// Runs a command to its end; a failure of the command itself is an answer, not an error.
    pub(crate) fn finish(&self, command: &mut Command) -> Result<End> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| self.failure(command, &format!("cannot be started: {error}")))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let start = Instant::now();
        let mut next = QUIET;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() >= next {
                if next == QUIET {
                    println!("  {} ...", self.name);
                } else {
                    println!("  {} ... {} s", self.name, start.elapsed().as_secs());
                }
                next += if next == QUIET { REMIND - QUIET } else { REMIND };
            }
            thread::sleep(Duration::from_millis(20));
        };
        let text = |thread: thread::JoinHandle<Vec<u8>>| -> Result<String> {
            let bytes = thread.join().map_err(|_| anyhow!("reading the output of {}", self.name))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(End { success: status.success(), stdout: text(stdout)?, stderr: text(stderr)? })
    }

    /// Words an error of this step.
    pub(crate) fn failure(&self, command: &Command, output: &str) -> anyhow::Error {
        let mut text = format!("{} failed\n  command: {}\n", self.name, shown(command));
        let lines: Vec<_> = output.trim_end().lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
            let _ = writeln!(text, "  | {line}");
        }
        let _ = write!(text, "  way out: {}", self.way_out);
        anyhow!(text)
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl End {
    /// Both outputs, one after the other.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe leaves what was read so far, which is what a failure report wants.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// The command as one could type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+/.,:@%".contains(c));
        if plain { word.into_owned() } else { format!("'{word}'") }
    });
    let settings = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy())));
    settings.chain(words).collect::<Vec<_>>().join(" ")
}

/// The path of a program, when it is on PATH or in the folders that a plain user's PATH lacks.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Writes a file and its folders.
pub(crate) fn write(path: &std::path::Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    std::fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::Step;

    const STEP: Step<'_> = Step { name: "a step", way_out: "do something else" };

    #[test]
    fn output_is_returned() {
        assert_eq!(STEP.run(Command::new("echo").arg("hello")).unwrap(), "hello\n");
    }

    #[test]
    fn a_failure_names_step_command_output_and_way_out() {
        let error = STEP.run(Command::new("sh").args(["-c", "echo bad >&2; exit 3"]).env("A", "b"));
        let text = error.unwrap_err().to_string();
        let want = "a step failed\n  command: A=b sh -c 'echo bad >&2; exit 3'\n  | bad\n  way out: do something else";
        assert_eq!(text, want);
    }

    #[test]
    fn a_missing_program_is_a_failure_of_the_step() {
        let text = STEP.run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert!(text.contains("command: no-such-program"), "{text}");
        assert!(text.contains("cannot be started"), "{text}");
    }
}
