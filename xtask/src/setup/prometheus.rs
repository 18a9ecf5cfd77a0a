//! Prometheus, its promtool and its Alertmanager: they judge what the agent serves and what the rules make of it.

use std::path::PathBuf;

use anyhow::Result;

use crate::lab::unpacked;
use crate::place;

/// Changes when the list below does.
const FOLDER: &str = "prometheus-1";
const PACKAGES: [&str; 3] = ["prometheus/trixie", "promtool/trixie", "prometheus-alertmanager/trixie"];

/// Debian's, unpacked and not installed: the packages would start servers. Not the machine's own: rules are
/// judged alike everywhere.
fn program(name: &str) -> Result<PathBuf> {
    let folder = unpacked::folder("Prometheus", place::tools().join(FOLDER), &PACKAGES)?;
    Ok(folder.join("usr/bin").join(name))
}

/// Checks metrics and rules, and tests rules.
pub(crate) fn promtool() -> Result<PathBuf> {
    program("promtool")
}

/// The server.
pub(crate) fn prometheus() -> Result<PathBuf> {
    program("prometheus")
}

/// What alerts are sent to.
pub(crate) fn alertmanager() -> Result<PathBuf> {
    program("prometheus-alertmanager")
}
