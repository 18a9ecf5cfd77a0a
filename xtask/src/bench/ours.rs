//! Our own bench program, of the working tree and of an earlier commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::place;
use crate::step::Step;

const PROGRAM: &str = "aa-monitor-bench";

/// The agent's program without its eBPF programs, which no log needs.
const AGENT: &str = "aa-monitor";

/// Builds the program of the working tree.
pub(crate) fn build() -> Result<PathBuf> {
    build_in(&place::workspace(), &place::bench().join("build"), PROGRAM)
}

/// Builds the agent itself.
pub(crate) fn agent() -> Result<PathBuf> {
    build_in(&place::workspace(), &place::bench().join("build"), AGENT)
}

/// A commit to hold the working tree against.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The full hash.
    pub(crate) hash: String,
    /// Its first letters and its subject.
    pub(crate) title: String,
}

impl Commit {
    /// The commit that `revision` names; without one, the last commit that is not what is in the working
    /// tree. None where there is none: the first commit, or no repository at all.
    pub(crate) fn find(revision: Option<&str>) -> Result<Option<Self>> {
        let revision = match revision {
            Some("none") => return Ok(None),
            Some(revision) => revision.to_owned(),
            None if git(&["status", "--porcelain"])?.is_none_or(|changes| !changes.is_empty()) => {
                "HEAD".to_owned()
            }
            None => "HEAD^".to_owned(),
        };
        let Some(hash) = git(&["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])?
        else {
            return Ok(None);
        };
        let title = git(&["log", "-1", "--format=%h %s", &hash])?.unwrap_or_default();
        Ok(Some(Self { hash, title }))
    }

    /// Builds its program; None when it has none yet.
    pub(crate) fn build(&self) -> Result<Option<PathBuf>> {
        if git(&["cat-file", "-e", &format!("{}:bench/Cargo.toml", self.hash)])?.is_none() {
            return Ok(None);
        }
        let folder = place::bench().join("earlier");
        let kept = folder.join(format!("{PROGRAM}-{}", self.hash));
        if kept.exists() {
            return Ok(Some(kept));
        }
        // Only one at a time is kept; the build folder stays, with the dependencies in it.
        let sources = folder.join("sources");
        let _ = fs::remove_dir_all(&sources);
        fs::create_dir_all(&sources).with_context(|| format!("making {}", sources.display()))?;
        let step = Step { name: "unpacking the earlier commit", way_out: "give --against none" };
        let archive = folder.join("sources.tar");
        let mut command = Command::new("git");
        command.args(["archive", "--output"]).arg(&archive).arg(&self.hash);
        step.run(command.current_dir(place::workspace()))?;
        step.run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&sources))?;
        let program = build_in(&sources, &folder.join("build"), PROGRAM)?;
        fs::copy(&program, &kept).with_context(|| format!("keeping {}", kept.display()))?;
        Ok(Some(kept))
    }
}

fn build_in(sources: &Path, target: &Path, package: &str) -> Result<PathBuf> {
    let step = Step { name: &format!("building {package}"), way_out: "mend the code above" };
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--release", "--no-default-features"]);
    command.args(["--package", package, "--bin", package, "--target-dir"]).arg(target);
    step.run(command.current_dir(sources))?;
    Ok(target.join("release").join(package))
}

/// What git says; None when it says no.
fn git(arguments: &[&str]) -> Result<Option<String>> {
    let step = Step { name: "asking git", way_out: "install git" };
    let end = step.finish(Command::new("git").args(arguments).current_dir(place::workspace()))?;
    Ok(end.success.then(|| end.stdout.trim().to_owned()))
}
