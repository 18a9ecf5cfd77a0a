//! placeholder
use anyhow::Result;
/// x
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments) -> Result<bool> {
    Ok(true)
}
