//! `aa-monitor replay`: logs instead of a kernel.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Failure;
use crate::config::LogLevel;
use crate::logging::{self, colour_wanted};
use crate::output::{Report, ReportFormat};
use crate::record::{Class, Verdict};
use crate::replay::{Filter, Replay};
use crate::shutdown;

const EXAMPLES: &str = "\
Examples:
  aa-monitor replay /var/log/audit/audit.log*              what was denied, by count
  journalctl -k -o json | aa-monitor replay -              the same from the journal
  aa-monitor replay --since 2h --profile 'docker-*' /var/log/kern.log
  aa-monitor replay --follow --output table /var/log/audit/audit.log
  aa-monitor replay --output prom audit.log                counters, for tests and batch jobs

Reads auditd's file, the kernel's log (dmesg, /dev/kmsg, syslog) and the journal (short, json, export),
each line for itself, packed with gzip or not. Needs no privileges and no AppArmor.";

/// `aa-monitor replay`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// Log files; - is standard input, which is also the default
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Wait for more, through rotation and truncation, and for files that are not there yet
    #[arg(long, short)]
    follow: bool,

    /// Only violations since then: a time ago (30m, 2h, 7days) or a date (2026-01-31, 2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<u64>,

    /// Only violations with this verdict; can be given several times
    #[arg(long, value_name = "VERDICT", value_parser = verdict_parser())]
    verdict: Vec<Verdict>,

    /// Only violations of this class; can be given several times
    #[arg(long, value_name = "CLASS", value_parser = class_parser())]
    class: Vec<Class>,

    /// Only violations of this operation, as the kernel calls it; can be given several times
    #[arg(long, value_name = "OPERATION")]
    operation: Vec<String>,

    /// Only violations by profiles of this name, in which * and ? stand for any characters and any one; can be given several times
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,

    /// How to report them [default: summary on a terminal, json elsewhere]
    #[arg(long, value_name = "FORMAT")]
    output: Option<ReportFormat>,

    /// Series that --output prom may have; violations past it are counted as "__other__"
    #[arg(long, value_name = "N", default_value_t = 5000)]
    series_limit: usize,

    /// Fail at the first malformed record
    #[arg(long)]
    strict: bool,
}

impl ReplayArgs {
    /// Reads the logs.
    pub fn run(self) -> Result<(), Failure> {
        logging::start(LogLevel::Warn);
        let terminal = stdout().is_terminal();
        let default = if terminal { ReportFormat::Summary } else { ReportFormat::Json };
        let width = terminal.then(|| terminal_size::terminal_size_of(stdout())).flatten();
        let report = Report::new(
            self.output.unwrap_or(default),
            Box::new(stdout()),
            width.map(|(width, _)| usize::from(width.0)),
            terminal && colour_wanted(),
            self.series_limit,
        )?;
        let filter = Filter {
            since: self.since,
            verdicts: self.verdict,
            classes: self.class,
            operations: self.operation,
            profiles: self.profile.iter().map(|name| wildmatch::WildMatch::new(name)).collect(),
        };
        let files = match self.files {
            files if !files.is_empty() => files,
            _ if stdin().is_terminal() => {
                return Err(Failure::Usage("no log to read: name a file, or - to type one".to_owned()));
            }
            _ => vec![PathBuf::from("-")],
        };
        if self.follow && files.iter().any(|file| file.as_os_str() == "-") {
            return Err(Failure::Usage(
                "--follow needs files: standard input is read as it comes".to_owned(),
            ));
        }
        let mut replay = Replay::new(filter, self.strict, report);
        let done = if self.follow {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            runtime.block_on(async {
                let stop = shutdown::requested().context("cannot listen for signals")?;
                replay.follow(&files, stop).await
            })
        } else {
            replay.read(&files)
        };
        let (lines, complaint) = replay.finish()?;
        // Nobody may be reading.
        let _ = writeln!(stderr(), "{lines}");
        if let Some(complaint) = complaint.filter(|_| !self.strict) {
            let _ = writeln!(stderr(), "first {complaint}");
        }
        Ok(done?)
    }
}

pub(super) fn verdict_parser() -> impl TypedValueParser<Value = Verdict> {
    word_parser(&Verdict::ALL, Verdict::as_str)
}

pub(super) fn class_parser() -> impl TypedValueParser<Value = Class> {
    word_parser(&Class::ALL, Class::as_str)
}

/// A parser for the words of `all`.
fn word_parser<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|value| word(*value)))
        .try_map(move |text| all.iter().copied().find(|value| word(*value) == text).ok_or("no such word"))
}

/// Nanoseconds since the epoch.
pub(super) fn parse_since(text: &str) -> Result<u64, String> {
    let time = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text)
            .or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00")))
            .ok(),
    };
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since.as_ref().map(Duration::as_nanos).and_then(|nanos| u64::try_from(nanos).ok());
    nanoseconds
        .ok_or_else(|| "write a time ago like 30m or 2h, or a date like 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_times() {
        for (text, want) in [
            ("1970-01-01", Some(0)),
            ("1970-01-02T00:00:00Z", Some(86_400_000_000_000)),
            ("1970-01-01 00:00:01", Some(1_000_000_000)),
            ("yesterday", None),
            ("", None),
            ("1960-01-01", None),
        ] {
            assert_eq!(parse_since(text).ok(), want, "{text}");
        }
        let hour = Duration::from_secs(3600).as_nanos();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let ago = u128::from(parse_since("1h").unwrap());
        assert!((now - hour..=now - hour + 1_000_000_000).contains(&(ago + 500_000_000)), "an hour ago");
    }
}
