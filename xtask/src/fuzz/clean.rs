//! Which programs have been fuzzed and found clean, so that a run of the tests which changes nothing about them
//! need not spend the minutes again.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::place;
use crate::step;

/// A file a target, with the hash of the program and the seeds that it was clean with.
#[derive(Debug)]
pub(crate) struct Clean(PathBuf);

impl Clean {
    /// Below target/fuzz.
    pub(crate) fn open() -> Result<Self> {
        let folder = place::fuzz().join("clean");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Whether this very program was clean with these very seeds.
    pub(crate) fn has(&self, target: &str, program: &Path, seeds: &Path) -> Result<bool> {
        let Ok(noted) = fs::read_to_string(self.0.join(target)) else { return Ok(false) };
        Ok(noted == hash(program, seeds)?)
    }

    /// Notes that it was.
    pub(crate) fn note(&self, target: &str, program: &Path, seeds: &Path) -> Result<()> {
        step::write(&self.0.join(target), hash(program, seeds)?)
    }
}

/// Of a file and of the files of a folder. Not against forgers: against forgetting.
fn hash(program: &Path, seeds: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    let mut paths = vec![program.to_owned()];
    for entry in fs::read_dir(seeds).with_context(|| format!("reading {}", seeds.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        hasher.write_usize(content.len());
        hasher.write(&content);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Clean;

    #[test]
    fn a_new_program_or_a_new_seed_is_fuzzed_again() {
        let folder = std::env::temp_dir().join(format!("aa-xtask-clean-{}", std::process::id()));
        let (program, seeds) = (folder.join("program"), folder.join("seeds"));
        fs::create_dir_all(&seeds).unwrap();
        fs::write(&program, "1").unwrap();
        let clean = Clean(folder.join("clean"));
        assert!(!clean.has("line", &program, &seeds).unwrap(), "never fuzzed");
        clean.note("line", &program, &seeds).unwrap();
        assert!(clean.has("line", &program, &seeds).unwrap(), "the same");
        assert!(!clean.has("log", &program, &seeds).unwrap(), "another target");
        fs::write(seeds.join("a"), "x").unwrap();
        assert!(!clean.has("line", &program, &seeds).unwrap(), "another seed");
        clean.note("line", &program, &seeds).unwrap();
        fs::write(&program, "2").unwrap();
        assert!(!clean.has("line", &program, &seeds).unwrap(), "another program");
        fs::remove_dir_all(&folder).unwrap();
    }
}
