//! Log lines: standard error, one line each, in a form that suits whoever reads it there.

use std::io::{IsTerminal, stderr};

use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;

/// Starts logging for the whole process.
///
/// The journal stamps lines itself, so they carry no time there; colour is for terminals.
pub fn start(level: LogLevel) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && colour_wanted())
        .with_target(false);
    let lines = if to_journal() { lines.without_time().boxed() } else { lines.boxed() };
    // What a library says of each request that fails, the agent says once, and with a way out.
    let wanted = Targets::new().with_default(LevelFilter::from(level)).with_target(
        "kube_client",
        if level == LogLevel::Trace { LevelFilter::TRACE } else { LevelFilter::OFF },
    );
    tracing_subscriber::registry().with(wanted).with(lines).init();
}

/// Whether standard error is the journal: systemd names its device and inode, because a child may have
/// another one (systemd.exec(5), `$JOURNAL_STREAM`).
fn to_journal() -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(stderr()).is_ok_and(|stderr| journal == format!("{}:{}", stderr.st_dev, stderr.st_ino).as_str())
}

/// Whether the user leaves colour to us (<https://no-color.org>).
pub fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
