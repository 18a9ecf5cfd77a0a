//! s
use anyhow::Result;
/// lab
pub(crate) fn lab() -> Result<()> {
    Ok(())
}
