//! promtool, which judges what the agent serves.

use std::path::PathBuf;

use anyhow::Result;

use crate::lab::debian::Apt;
use crate::place;
use crate::step::find_program;

/// The machine's own, otherwise Debian's, unpacked and not installed: the package would start a server.
pub(crate) fn promtool() -> Result<PathBuf> {
    if let Some(path) = find_program("promtool") {
        return Ok(path);
    }
    let folder = place::tools().join("prometheus");
    if !folder.exists() {
        Apt::fresh()?.unpack("promtool", &["prometheus/trixie".to_owned()], &folder)?;
    }
    Ok(folder.join("usr/bin/promtool"))
}
