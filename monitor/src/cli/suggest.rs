//! `aa-monitor suggest`: what a profile still misses.

use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::replay::parse_since;
use super::{Failure, write_out};
use crate::config::{DEFAULT_SOCKET, LogLevel};
use crate::logging;
use crate::output::history;
use crate::output::live::Ask;
use crate::output::live::client::Answer;
use crate::suggest::{Abi, Collection, ExecChoice, Format, Level, Only, Request, suggest};

/// Something has to be added to a profile.
pub const EXIT_MISSING: u8 = 2;

/// What the running kernel can mediate.
const NAMESPACES: &str = "/sys/kernel/security/apparmor/features/namespaces/mask";

const EXAMPLES: &str = "\
Examples:
  aa-monitor suggest                                  what the agent on this node has seen, by profile
  aa-monitor suggest --profile web --format profile   a profile that loads; with --complain, to learn on
  aa-monitor suggest --from /var/log/audit/audit.log --profile-file /etc/apparmor.d/web --format diff
  aa-monitor suggest --format json > node-1.json      and, with those of all nodes:
  aa-monitor suggest --merge node-1.json node-2.json --profile web

A profile in complain mode tells everything that it misses; one in enforce mode stops programs at the first.
Exit codes: 0 nothing is missing, 2 something is, 1 failed, 64 wrong usage.";

/// `aa-monitor suggest`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SuggestArgs {
    /// Only profiles of this name, in which * and ? stand for any characters and any one; can be given several times
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,

    /// Read logs instead of asking the agent; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,

    /// Read what an agent that does not run has kept in its state directory
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "/var/lib/aa-monitor")]
    history: Option<PathBuf>,

    /// Where the agent listens
    #[arg(long, env = "AA_MONITOR_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// Put together what --format json wrote on several nodes
    #[arg(long, value_name = "FILE", num_args = 1..)]
    merge: Vec<PathBuf>,

    /// How to write the suggestions
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// Write new profiles in complain mode, for one more round
    #[arg(long)]
    complain: bool,

    /// How far to go beyond the names that were seen
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    generalise: Level,

    /// What becomes of programs that are executed
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    exec: ExecChoice,

    /// Which rules there are [default: 4.0 if the running kernel mediates user namespaces, else 3.0]
    #[arg(long, value_enum, value_name = "ABI")]
    abi: Option<Abi>,

    /// The profile's source: what it has already is left out
    #[arg(long, value_name = "FILE")]
    profile_file: Option<PathBuf>,

    /// Where included files are; can be given several times
    #[arg(long, value_name = "FOLDER", default_value = "/etc/apparmor.d")]
    include_dir: Vec<PathBuf>,

    /// Put abstractions in place of the rules that they cover, rather than naming them beside
    #[arg(long)]
    use_abstractions: bool,

    /// Only what was seen in pods of this name, in which * and ? stand for any characters and any one
    #[arg(long, value_name = "NAME")]
    pod: Vec<String>,

    /// Only what was seen in pods of this Kubernetes namespace
    #[arg(long, short, value_name = "NAME")]
    namespace: Vec<String>,

    /// Only what was seen since then: a time ago (30m, 2h, 7days) or a date (2026-01-31, 2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<u64>,

    /// Leave out rules that fewer violations speak for
    #[arg(long, value_name = "N", default_value_t = 1)]
    min_count: u64,
}

impl SuggestArgs {
    /// Suggests; true when something is missing.
    pub fn run(self) -> Result<bool, Failure> {
        logging::start(LogLevel::Warn);
        if self.format == Format::Diff && self.profile_file.is_none() {
            return Err(Failure::Usage(
                "--format diff needs the profile's source: name it by --profile-file".to_owned(),
            ));
        }
        let only = Only {
            since: self.since,
            pods: self.pod.iter().map(|name| wildmatch::WildMatch::new(name)).collect(),
            namespaces: self.namespace.iter().map(|name| wildmatch::WildMatch::new(name)).collect(),
        };
        let mut collection = Collection::new(only);
        for path in &self.from {
            collection.read_log(path)?;
        }
        if let Some(folder) = &self.history {
            for evidence in history::read(folder)? {
                collection.add(evidence);
            }
        }
        if self.from.is_empty() && self.merge.is_empty() && self.history.is_none() {
            ask(&self.socket, &mut collection)?;
        }
        for path in &self.merge {
            collection.read_json(path)?;
        }
        let (evidence, mut remarks) = collection.finish();
        let request = Request {
            profiles: self.profile,
            abi: self.abi.unwrap_or_else(abi_of_this_node),
            level: self.generalise,
            exec: self.exec,
            min_count: self.min_count,
            profile_file: self.profile_file,
            include_dirs: self.include_dir,
            use_abstractions: self.use_abstractions,
            format: self.format,
            complain: self.complain,
        };
        let answer = suggest(&request, evidence)?;
        write_out(&mut stdout(), answer.text.as_bytes())?;
        remarks.extend(answer.remarks);
        for remark in remarks {
            // Nobody may be reading.
            let _ = writeln!(stderr(), "{}", crate::output::escape::escape(remark.as_bytes(), 400));
        }
        Ok(answer.missing)
    }
}

/// Asks the agent of this node what it remembers.
fn ask(socket: &Path, collection: &mut Collection) -> anyhow::Result<()> {
    let mut answer = Answer::ask(socket, &Ask::Evidence)?;
    while let Some(line) = answer.line().context("the agent ended while it answered")? {
        match serde_json::from_slice(&line) {
            Ok(evidence) => collection.add(evidence),
            // The last line, which says that there is no other.
            Err(_) if line.starts_with(b"{\"end\"") => return Ok(()),
            Err(error) => return Err(error).context("the agent's answer is not understood"),
        }
    }
    bail!("the agent ended while it answered")
}

/// Mediation of user namespaces came with AppArmor 4.0's.
fn abi_of_this_node() -> Abi {
    let mediated = std::fs::read(NAMESPACES).is_ok_and(|mask| mask.starts_with(b"userns_create"));
    if mediated { Abi::V4 } else { Abi::V3 }
}
