//! The command line: what can be asked for, and how a refusal reads.

mod check;
#[cfg(feature = "ebpf")]
mod detach;
mod live;
mod refusal;
mod replay;
mod suggest;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

pub use self::check::CheckArgs;
#[cfg(feature = "ebpf")]
pub use self::detach::DetachArgs;
pub use self::live::{StatusArgs, TailArgs};
pub use self::refusal::{EXIT_FAILED, EXIT_USAGE, Failure};
pub use self::replay::ReplayArgs;
pub use self::suggest::{EXIT_MISSING, SuggestArgs};
use crate::config::{Config, Settings};

/// The command line of `aa-monitor`.
#[derive(Debug, Parser)]
#[command(
    name = "aa-monitor",
    version,
    about = "Counts what AppArmor denies, and what it would deny, on this node",
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 64 wrong usage or configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `aa-monitor` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: capture violations, count each once, serve /metrics
    Run(Box<RunArgs>),
    /// Look what works on this node: before an agent runs, or beside one
    #[command(long_about = check::ABOUT)]
    Check(Box<CheckArgs>),
    /// Read logs, in any format that holds AppArmor's records, and tell what was denied
    Replay(ReplayArgs),
    /// Show the events that the agent on this node sees, the last ones and those to come
    Tail(TailArgs),
    /// Show profiles and containers: modes, denials, and what could be enforced
    Status(StatusArgs),
    /// Suggest the rules that a profile still misses, each with its evidence
    Suggest(SuggestArgs),
    /// Detach the eBPF programs that agents have left attached for the next one, and remove their ring
    #[cfg(feature = "ebpf")]
    Detach(DetachArgs),
    /// Look whether the history of violations can be read; the agent asks itself
    #[command(name = crate::output::history::CHECK_COMMAND, hide = true)]
    CheckHistory {
        /// The state directory
        folder: PathBuf,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete in
        shell: Shell,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  aa-monitor run                                serve metrics on http://127.0.0.1:9464/metrics
  aa-monitor run --output table                 and watch violations live
  aa-monitor run --output json | jq .name       and take them apart
  aa-monitor run --source audit                 without eBPF
  aa-monitor run --print-config                 show what flags, environment and file add up to

Every flag can also stand in the environment (--ring-size as AA_MONITOR_RING_SIZE) and in the
TOML file (ring-size = \"16MiB\"). A flag wins over the environment, which wins over the file.";

/// `aa-monitor run`.
#[derive(clap::Args, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Read the configuration from this file [default: /etc/aa-monitor/config.toml, if it exists]
    #[arg(long, env = "AA_MONITOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the effective configuration as TOML, and exit
    #[arg(long)]
    print_config: bool,

    #[command(flatten)]
    settings: Settings,
}

impl RunArgs {
    /// The configuration to run with; `None` when it was only to be printed, to `out`.
    pub fn config(self, out: &mut dyn Write) -> Result<Option<Config>, Failure> {
        let config = Config::load(self.config.as_deref(), self.settings)?;
        if !self.print_config {
            return Ok(Some(config));
        }
        let text =
            config.to_toml().map_err(|error| Failure::Usage(format!("cannot print it as TOML: {error}")))?;
        write_out(out, text.as_bytes())?;
        Ok(None)
    }
}

/// Reads the command line; or a refusal that knows its exit code (`--help` is one, with code 0).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    Cli::command()
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| Failure::refused(error, &args))
}

/// Writes the completion script of `shell` to `out`.
pub fn print_completions(shell: Shell, out: &mut dyn Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "aa-monitor", &mut script);
    write_out(out, &script)
}

/// A reader that has seen enough (`| head`) is no failure.
fn write_out(out: &mut dyn Write, bytes: &[u8]) -> Result<(), Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::DEFAULT_FILE;

    fn refuse(args: &[&str]) -> Failure {
        parse(args.iter().map(OsString::from)).expect_err("refused")
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn refusals_know_their_exit_code() {
        for (args, code) in [
            (&["aa-monitor", "--help"][..], 0),
            (&["aa-monitor", "run", "--help"], 0),
            (&["aa-monitor", "--version"], 0),
            (&["aa-monitor"], 64),
            (&["aa-monitor", "walk"], 64),
            (&["aa-monitor", "run", "--lsten", "x"], 64),
            (&["aa-monitor", "run", "--source", "ebf"], 64),
            (&["aa-monitor", "run", "extra"], 64),
        ] {
            assert_eq!(refuse(args).exit_code(), code, "{args:?}");
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        for (kind, code) in [(io::ErrorKind::BrokenPipe, 0), (io::ErrorKind::StorageFull, 1)] {
            let error = anyhow::Error::new(io::Error::from(kind)).context("cannot write");
            assert_eq!(Failure::Failed(error).exit_code(), code, "{kind}");
        }
    }

    #[test]
    fn mistakes_are_answered_with_the_nearest_right_word() {
        for (args, wanted) in [
            (&["aa-monitor", "runn"][..], "'run'"),
            (&["aa-monitor", "run", "--lsten", "x"], "'--listen'"),
            (&["aa-monitor", "run", "--source", "ebf"], "'ebpf'"),
            (&["aa-monitor", "run", "--source", "ebf"], "[possible values: auto, ebpf, audit]"),
            (&["aa-monitor", "run", "--ring-size", "3MiB"], "the next one is 4MiB"),
        ] {
            let text = refuse(args).to_string();
            assert!(text.contains(wanted), "{args:?}: {text}");
        }
    }

    #[test]
    fn the_default_file_is_the_one_that_help_names() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").expect("the command");
        let config = run.get_arguments().find(|arg| arg.get_id() == "config").expect("the flag");
        let help = config.get_help().expect("help").to_string();
        assert!(help.contains(DEFAULT_FILE), "{help}");
    }
}
