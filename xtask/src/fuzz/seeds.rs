//! Where fuzzing begins: what kernels really sent, a file each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bstr::ByteVec as _;

use crate::place;

/// Targets whose input is no text, and the kind of seeds that is theirs.
const KINDS: [(&str, &str); 1] = [("wire", "wire")];
const TEXT: &str = "text";

/// The folder of seeds, with one for each kind in it.
#[derive(Debug)]
pub(crate) struct Seeds(PathBuf);

impl Seeds {
    /// Writes the seeds anew.
    pub(crate) fn plant() -> Result<Self> {
        let seeds = Self(place::fuzz().join("seeds"));
        // What an older fixture left would be a seed for ever.
        let _ = fs::remove_dir_all(&seeds.0);
        for kind in KINDS.iter().map(|(_, kind)| *kind).chain([TEXT]) {
            let folder = seeds.0.join(kind);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        seeds.records()?;
        Ok(seeds)
    }

    /// The folder for a target.
    pub(crate) fn of(&self, target: &str) -> PathBuf {
        self.0.join(KINDS.iter().find(|(known, _)| *known == target).map_or(TEXT, |(_, kind)| *kind))
    }

    /// What tests/fixtures holds.
    fn records(&self) -> Result<()> {
        let fixtures = place::workspace().join("tests/fixtures");
        let mut number = 0;
        let mut plant = |kind: &str, seed: &[u8]| {
            number += 1;
            let path = self.0.join(kind).join(format!("{number:05}"));
            fs::write(&path, seed).with_context(|| format!("writing {}", path.display()))
        };
        for path in sorted(&fixtures.join("wire"))? {
            for line in fs::read_to_string(path)?.lines() {
                if let Some(record) = line.strip_prefix("ring ") {
                    plant("wire", &Vec::unescape_bytes(record))?;
                } else if let Some(record) = line.strip_prefix("audit ") {
                    plant(TEXT, &Vec::unescape_bytes(record))?;
                }
            }
        }
        for path in sorted(&fixtures.join("records"))? {
            for line in fs::read(path)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                plant(TEXT, line)?;
            }
        }
        Ok(())
    }
}

/// The files of a folder, always in the same order.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}
