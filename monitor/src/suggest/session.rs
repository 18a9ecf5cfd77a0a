//! One question for suggestions, and its answer.

use std::path::PathBuf;

use anyhow::Context;

use super::abstractions::Abstractions;
use super::generalise::Level;
use super::plan::{ExecChoice, Suggestion, Wishes, plan};
use super::profile::{self, Folders, Source, read_file};
use super::render;
use super::text::Abi;
use crate::output::history::evidence::Evidence;

/// How suggestions are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The rules alone, by profile
    #[default]
    Rules,
    /// A whole profile; with --profile-file, that file with what it misses put in
    Profile,
    /// What would change in the file of --profile-file
    Diff,
    /// Rules and evidence, for programs and for --merge
    Json,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names of profiles, with `*` and `?`; all when empty.
    pub profiles: Vec<String>,
    /// The words that may be used.
    pub abi: Abi,
    /// How far to go beyond what was seen.
    pub level: Level,
    /// What becomes of programs that are executed.
    pub exec: ExecChoice,
    /// Leave out rules that fewer violations speak for.
    pub min_count: u64,
    /// The profile's source.
    pub profile_file: Option<PathBuf>,
    /// Where included files are.
    pub include_dirs: Vec<PathBuf>,
    /// Put abstractions in place of the rules that they cover.
    pub use_abstractions: bool,
    /// How to write it.
    pub format: Format,
    /// Whether profiles that are new are written in complain mode.
    pub complain: bool,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In the format that was asked for.
    pub text: String,
    /// Whether anything has to be added to a profile.
    pub missing: bool,
    /// What could not be understood of the profile's source.
    pub remarks: Vec<String>,
}

/// Answers `request` from `evidence`.
pub fn suggest(request: &Request, mut evidence: Vec<Evidence>) -> anyhow::Result<Answer> {
    let folders = Folders(request.include_dirs.clone());
    let existing = match &request.profile_file {
        Some(path) => {
            let text =
                read_file(path).with_context(|| format!("cannot read the profile {}", path.display()))?;
            Some((profile::read(&text, &folders), text))
        }
        None => None,
    };
    let names: Vec<_> = request.profiles.iter().map(|name| wildmatch::WildMatch::new(name)).collect();
    if !names.is_empty() {
        evidence.retain(|one| {
            let matches = |profile: &[u8]| {
                let base = crate::record::profile_base(profile);
                let base = String::from_utf8_lossy(&base).into_owned();
                // A profile's hats and children are about the profile.
                let parent = base.split("//").next().unwrap_or_default();
                names.iter().any(|name| name.matches(&base) || name.matches(parent))
            };
            one.with(|violation| violation.profile.is_some_and(matches)).unwrap_or(false)
        });
    }
    let wishes = Wishes {
        abi: request.abi,
        level: request.level,
        exec: request.exec,
        min_count: request.min_count,
        abstractions: Abstractions::read(&folders),
        use_abstractions: request.use_abstractions,
        existing: existing.as_ref().map(|(source, _)| source.clone()),
    };
    let suggestions = plan(&evidence, &wishes);
    let existing = existing.as_ref();
    let text = match request.format {
        Format::Rules => render::rules(&suggestions, request.abi, request.complain),
        Format::Json => render::json(&suggestions, &evidence, request.abi),
        Format::Profile => render::profile(
            &suggestions,
            request.abi,
            request.complain,
            existing.map(|(source, text)| (source, text.as_str())),
        ),
        Format::Diff => {
            let (source, old) =
                existing.context("--format diff needs the profile's source: name it by --profile-file")?;
            let new = render::profile(&suggestions, request.abi, request.complain, Some((source, old)));
            let path = request.profile_file.as_deref().unwrap_or_else(|| std::path::Path::new("profile"));
            render::diff(&path.to_string_lossy(), old, &new)
        }
    };
    let remarks = existing.map(|(source, _)| remarks(source, &suggestions)).unwrap_or_default();
    Ok(Answer { text, missing: suggestions.iter().any(Suggestion::is_missing), remarks })
}

/// What the author of the file should know.
fn remarks(source: &Source, suggestions: &[Suggestion]) -> Vec<String> {
    let missing = suggestions.iter().filter(|one| one.missing);
    let names = || source.profiles.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ");
    missing
        .map(|one| format!("the file has no profile called {}; it has {}", one.name, names()))
        .chain(source.passed_over.iter().map(|what| format!("passed over: {what}")))
        .collect()
}
