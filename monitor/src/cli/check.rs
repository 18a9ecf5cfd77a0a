//! `aa-monitor check`: what works on this node, and what to do about the rest.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Failure, write_out};
use crate::check::{self, Status};
use crate::config::{Config, Settings};

/// What stands in `aa-monitor check --help` before the options.
pub(super) const ABOUT: &str = "\
Look what works on this node: before an agent runs, or beside one

Tries what an agent with the same flags, environment and file would do: loads and attaches the eBPF
programs, joins the audit stream, asks for this node's pods; and takes all of that back. It writes
nothing, and an agent that runs is not disturbed.

Each line is a status, what was looked at, and what was found:
  ok    as it should be
  warn  the agent does without, and the line says what is lost
  fail  the agent cannot do what it was asked for
Below a line that is not ok stands what to do about it.";

const EXAMPLES: &str = "\
Examples:
  aa-monitor check                              this node, as the agent would be started
  aa-monitor check --source ebpf                whether eBPF alone would do
  aa-monitor check --json | jq '.checks[] | select(.status != \"ok\")'
  kubectl exec -n aa-monitor ds/aa-monitor -- aa-monitor check
                                                beside the agent, with its privileges

Exit codes: 0 nothing failed (there may be warnings), 1 something did, 64 wrong usage or configuration.";

/// `aa-monitor check`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// Read the configuration from this file [default: /etc/aa-monitor/config.toml, if it exists]
    #[arg(long, env = "AA_MONITOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Answer with one JSON object: status, and checks with check, status, message and advice
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: Settings,
}

impl CheckArgs {
    /// Looks, tells `out`, and says whether everything that is needed works.
    pub fn run(self, out: &mut dyn Write) -> Result<bool, Failure> {
        let config = Config::load(self.config.as_deref(), self.settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let report = runtime.block_on(check::run(&config));
        let text = match self.json {
            true => report.to_json().context("cannot print it as JSON")?,
            false => report.to_text(),
        };
        write_out(out, text.as_bytes())?;
        Ok(report.status() != Status::Fail)
    }
}
