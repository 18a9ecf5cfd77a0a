//! `cargo xtask bench peers`: whole programs that read AppArmor's records, on one log: Debian's, and any that is named.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::figure::{Figure, Goal, Target, Verdict};
use super::libapparmor::Library;
use super::log;
use super::measure::whole;
use super::ours;
use crate::place;
use crate::setup::peers::Peers;
use crate::step::Step;

/// Has `aa-monitor replay` and other programs read one log, in turns.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many records the log has: few, because some of the others take a thousand times as long.
    #[arg(long, value_name = "N", default_value = "50000")]
    records: u32,
    /// How often it is read.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Another program, run by a shell; the path of the log is put in place of {log}, or behind it.
    #[arg(long = "peer", value_name = "NAME=COMMAND", value_parser = named)]
    peers: Vec<(String, String)>,
}

const fn times(what: &'static str) -> Goal {
    Goal { part: "peers", what, unit: "", target: Target::Told }
}

const LIBRARY: Goal = times("libapparmor's parser, nothing done with what it reads: times replay's CPU");
const AUSEARCH: Goal = times("auditd's ausearch -m AVC: times replay's CPU");
const READER: Goal = times("the reader of aa-logprof and aa-notify: times replay's CPU");
const LOGPROF: Goal = times("aa-logprof itself: times replay's CPU");
const NOTIFY: Goal = times("aa-notify itself: times replay's CPU");

/// What is told of others.
pub(crate) const GOALS: &[Goal] = &[LIBRARY, AUSEARCH, READER, LOGPROF, NOTIFY];

/// A program and how long it takes.
struct Peer {
    figure: fn(Vec<f64>) -> Figure,
    command: Command,
    /// What it has found, and the like.
    note: String,
}

/// Measures them.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Figure>> {
    let (bench, agent) = (ours::build()?, ours::agent()?);
    let library = Library::get()?;
    let peers = Peers::get()?;
    let log = log::make(&bench, arguments.records)?;

    let mut parse = Command::new(library.build()?);
    parse.arg("time").arg(&log);
    let mut ausearch = peers.ausearch();
    ausearch.args(["--raw", "-m", "AVC,USER_AVC", "-if"]).arg(&log);
    let mut reader = peers.python();
    reader.arg(place::workspace().join("bench/aa_logparser.py")).arg(&log);
    let mut all = vec![
        Peer {
            figure: |times| LIBRARY.median(times),
            command: parse,
            note: format!("libapparmor {}", library.version),
        },
        Peer {
            figure: |times| AUSEARCH.median(times),
            note: found(&mut ausearch, arguments.records)?,
            command: ausearch,
        },
        Peer { figure: |times| READER.median(times), note: understood(&mut reader)?, command: reader },
    ];
    let mut others: Vec<_> =
        arguments.peers.iter().map(|(_, command)| (shell(command, &log), Vec::new())).collect();

    let mut ratios = vec![Vec::new(); all.len()];
    for _ in 0..arguments.runs {
        let mut replay = Command::new(&agent);
        let own = whole(replay.args(["replay", "--output", "prom"]).arg(&log))?.as_secs_f64();
        for (peer, ratios) in all.iter_mut().zip(&mut ratios) {
            ratios.push(whole(&mut peer.command)?.as_secs_f64() / own);
        }
        for (command, ratios) in &mut others {
            ratios.push(whole(command)?.as_secs_f64() / own);
        }
    }
    let mut figures: Vec<_> =
        all.into_iter().zip(ratios).map(|(peer, ratios)| (peer.figure)(ratios).noting(peer.note)).collect();
    figures
        .push(LOGPROF.not_measured("it refuses to start where AppArmor is not enabled; its reader is above"));
    figures.push(NOTIFY.not_measured("it needs a desktop's libraries to start; its reader is above"));
    let named = arguments.peers.iter().zip(others);
    figures.extend(named.map(|((name, command), (_, ratios))| {
        let figure = times("").median(ratios).noting(command.as_str());
        Figure { what: format!("{name}: times replay's CPU"), verdict: Verdict::Told, ..figure }
    }));
    Ok(figures)
}

/// What ausearch makes of the log. Its exit status says whether it found anything.
fn found(ausearch: &mut Command, records: u32) -> Result<String> {
    let step = Step { name: "ausearch", way_out: "run the command by hand" };
    let end = step.finish(ausearch)?;
    // It says on standard error that it lacks auditd's configuration, which it does not need.
    let harmless = |line: &str| line.is_empty() || line.starts_with("Config file ") || line == "<no matches>";
    ensure!(end.success || end.stderr.lines().all(harmless), "ausearch: {}", end.text());
    let found = end.stdout.lines().filter(|line| line.starts_with("type=")).count();
    Ok(format!("it finds {found} of {records} records"))
}

fn understood(reader: &mut Command) -> Result<String> {
    let step = Step {
        name: "AppArmor's Python modules",
        way_out: "delete target/tools/peers-1 to fetch them again",
    };
    let text = step.run(reader)?;
    let Some((records, understood)) = text.trim().split_once(' ') else { bail!("it told {text}") };
    Ok(format!("it understands {understood} of {records} records"))
}

fn shell(command: &str, log: &Path) -> Command {
    let quoted = format!("'{}'", log.display().to_string().replace('\'', r"'\''"));
    let text = match command.contains("{log}") {
        true => command.replace("{log}", &quoted),
        false => format!("{command} {quoted}"),
    };
    let mut command = Command::new("sh");
    command.arg("-c").arg(text);
    command
}

fn named(text: &str) -> Result<(String, String)> {
    let (name, command) = text.split_once('=').context("it is NAME=COMMAND")?;
    ensure!(!name.is_empty() && !command.trim().is_empty(), "it is NAME=COMMAND");
    Ok((name.to_owned(), command.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{named, shell};

    #[test]
    fn the_log_is_put_where_it_belongs() {
        for (command, log, want) in [
            ("grep -c x", "/a", "grep -c x '/a'"),
            ("grep -c x < {log}", "/a b", "grep -c x < '/a b'"),
            ("cat", "/it's", r"cat '/it'\''s'"),
        ] {
            let command = shell(command, Path::new(log));
            assert_eq!(command.get_args().last().and_then(|text| text.to_str()), Some(want));
        }
    }

    #[test]
    fn a_peer_has_a_name_and_a_command() {
        assert_eq!(named("grep=grep -c a=b").unwrap(), ("grep".to_owned(), "grep -c a=b".to_owned()));
        for text in ["grep", "=grep", "grep="] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
