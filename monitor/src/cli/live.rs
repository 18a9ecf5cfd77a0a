//! `aa-monitor tail` and `aa-monitor status`: what the agent on this node sees and knows.

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::replay::class_parser;
use super::{Failure, write_out};
use crate::config::DEFAULT_SOCKET;
use crate::output::SILENT;
use crate::output::live::client::Answer;
use crate::output::live::{Ask, Filter, Status};
use crate::record::{Class, Verdict};

/// How often a restarted agent is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `aa-monitor tail`.
#[derive(clap::Args, Debug)]
pub struct TailArgs {
    /// Begin with the last events, of containers that are gone, too (the agent keeps 1000)
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: usize,

    /// End after those, rather than wait for more
    #[arg(long)]
    no_follow: bool,

    /// One JSON object a line
    #[arg(long)]
    json: bool,

    /// Only events with this verdict, or what was refused without a record (silent); can be given several times
    #[arg(long, value_name = "VERDICT", value_parser = told_parser())]
    verdict: Vec<String>,

    /// Only events of this class; can be given several times
    #[arg(long, value_name = "CLASS", value_parser = class_parser())]
    class: Vec<Class>,

    /// Only events of profiles of this name, in which * and ? stand for any characters and any one
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,

    /// Only events of pods in this Kubernetes namespace
    #[arg(long, short, value_name = "NAME")]
    namespace: Vec<String>,

    /// Only events of pods of this name
    #[arg(long, value_name = "NAME")]
    pod: Vec<String>,

    /// Where the agent listens
    #[arg(long, env = "AA_MONITOR_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

impl TailArgs {
    /// Prints events until it is ended; through restarts of the agent.
    pub fn run(self) -> Result<(), Failure> {
        let filter = Filter {
            verdict: self.verdict,
            class: self.class.iter().map(|class| class.as_str().to_owned()).collect(),
            profile: self.profile,
            namespace: self.namespace,
            pod: self.pod,
        };
        let ask = |last| Ask::Tail { last, follow: !self.no_follow, filter: filter.clone() };
        let mut answer = Answer::ask(&self.socket, &ask(self.last))?;
        loop {
            while let Ok(Some(line)) = answer.line() {
                let value: Value =
                    serde_json::from_slice(&line).context("the agent's answer is not understood")?;
                if value.get("end").is_some() {
                    return Ok(());
                }
                if let Some(lost) = value.get("lost").and_then(Value::as_u64) {
                    let _ = writeln!(stderr(), "{lost} events were lost: too slow");
                    continue;
                }
                let mut text = match value.get("shown").and_then(Value::as_str) {
                    Some(shown) if !self.json => shown.to_owned(),
                    _ => event(&line).unwrap_or_default(),
                };
                text.push('\n');
                let mut out = stdout();
                if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    return Err(Failure::Failed(
                        anyhow::Error::new(error).context("cannot write to standard output"),
                    ));
                }
            }
            let _ = writeln!(stderr(), "the agent has ended; waiting for it");
            answer = loop {
                thread::sleep(LOOK_EVERY);
                // A new agent has not seen what the old one told.
                if let Ok(answer) = Answer::ask(&self.socket, &ask(self.last)) {
                    break answer;
                }
            };
        }
    }
}

/// A parser for what a line can begin with.
fn told_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(Verdict::ALL.iter().map(|verdict| verdict.as_str()).chain([SILENT]))
}

/// The event in a line, byte for byte, so that it stays escaped as the agent wrote it.
fn event(line: &[u8]) -> Option<String> {
    let text = str::from_utf8(line).ok()?;
    let (_, event) = text.split_once(",\"event\":")?;
    Some(event.strip_suffix('}')?.to_owned())
}

/// `aa-monitor status`.
#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// As one JSON object
    #[arg(long)]
    json: bool,

    /// How long nothing new may have come before a profile is called ready
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    quiet: Duration,

    /// Where the agent listens
    #[arg(long, env = "AA_MONITOR_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

impl StatusArgs {
    /// Prints what the agent knows.
    pub fn run(self) -> Result<(), Failure> {
        let mut answer = Answer::ask(&self.socket, &Ask::Status)?;
        let line = answer.line().context("the agent ended while it answered")?;
        let line = line.context("the agent ended while it answered")?;
        if self.json {
            return write_out(&mut stdout(), &[&line[..], b"\n"].concat());
        }
        let status: Status = serde_json::from_slice(&line).context("the agent's answer is not understood")?;
        write_out(&mut stdout(), table(&status, self.quiet).as_bytes())
    }
}

fn table(status: &Status, quiet: Duration) -> String {
    let time = |nanos: u64| match nanos {
        0 => "-".to_owned(),
        nanos => humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string(),
    };
    let mut rows = vec![
        ["PROFILE", "MODE", "DENIED", "WOULD DENY", "SILENT", "KINDS", "LAST", "ENFORCE?"].map(str::to_owned),
    ];
    rows.extend(status.profiles.iter().map(|profile| {
        [
            profile.profile.clone(),
            profile.mode.clone().unwrap_or_else(|| "-".to_owned()),
            profile.denied.to_string(),
            profile.would_deny.to_string(),
            profile.silent.to_string(),
            profile.distinct.to_string(),
            time(profile.last),
            profile.readiness(status.now, quiet).unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    let mut text = aligned(&rows);
    if !status.containers.is_empty() {
        let mut rows = vec![
            [
                "POD",
                "CONTAINER",
                "REQUESTED",
                "APPLIED",
                "MODE",
                "BY",
                "DENIED",
                "WOULD DENY",
                "SILENT",
                "LAST",
            ]
            .map(str::to_owned),
        ];
        rows.extend(status.containers.iter().map(|container| {
            [
                or_dash(Some(&container.pod)),
                container.container.clone(),
                or_dash(container.requested.as_ref()),
                or_dash(container.applied.as_ref()),
                or_dash(container.mode.as_ref()),
                or_dash(Some(&container.profile)),
                container.denied.to_string(),
                container.would_deny.to_string(),
                container.silent.to_string(),
                time(container.last),
            ]
        }));
        text.push('\n');
        text.push_str(&aligned(&rows));
    }
    if status.left_out > 0 {
        text.push_str(&format!("and {} more containers that violated nothing\n", status.left_out));
    }
    if !status.silent.is_empty() {
        let mut rows = vec![
            ["REFUSED WITHOUT A RECORD", "BY", "OF", "CLASS", "TIMES", "REASON", "LAST"].map(str::to_owned),
        ];
        rows.extend(status.silent.iter().map(|silent| {
            [
                if silent.what.is_empty() { "-".to_owned() } else { silent.what.clone() },
                silent.profile.clone(),
                silent.who.clone(),
                silent.class.clone(),
                silent.count.to_string(),
                silent.reason.clone(),
                time(silent.last),
            ]
        }));
        text.push('\n');
        text.push_str(&aligned(&rows));
    }
    text
}

fn or_dash(text: Option<&String>) -> String {
    text.filter(|text| !text.is_empty()).map_or("-", String::as_str).to_owned()
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::live::{ContainerStatus, ProfileStatus};

    #[test]
    fn profiles_and_containers_are_a_table_each() {
        let hour = 3_600_000_000_000;
        let web = ProfileStatus {
            profile: "web".into(),
            mode: Some("complain".into()),
            would_deny: 7,
            distinct: 2,
            last: 2 * hour,
            last_new: hour,
            pods: 12,
            ..Default::default()
        };
        let container = ContainerStatus {
            pod: "shop/web-0".into(),
            container: "web".into(),
            requested: Some("localhost/web".into()),
            applied: Some("web".into()),
            mode: Some("complain".into()),
            profile: "web".into(),
            would_deny: 7,
            last: 2 * hour,
            ..Default::default()
        };
        let quiet = ContainerStatus { container: "abc".into(), ..Default::default() };
        let containers = vec![container, quiet];
        let status =
            Status { now: 27 * hour, profiles: vec![web], containers, silent: Vec::new(), left_out: 7 };
        let table = table(&status, Duration::from_secs(24 * 3600));
        let rows: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let want = [
            "PROFILE MODE DENIED WOULD DENY SILENT KINDS LAST ENFORCE?",
            "web complain 0 7 0 2 1970-01-01T02:00:00Z ready: quiet for 26h over 12 pods",
            "",
            "POD CONTAINER REQUESTED APPLIED MODE BY DENIED WOULD DENY SILENT LAST",
            "shop/web-0 web localhost/web web complain web 0 7 0 1970-01-01T02:00:00Z",
            "- abc - - - - 0 0 0 -",
            "and 7 more containers that violated nothing",
        ];
        assert_eq!(rows, want, "{table}");
    }
}
