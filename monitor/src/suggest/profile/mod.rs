//! Reading profiles: so much of the language of apparmor.d(5) as it takes to know what a profile grants.
//!
//! What is not understood grants nothing here, so that a rule is rather suggested twice than missed.

mod rules;
mod statements;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::{fs, io};

use self::statements::{Statement, Statements};
use super::glob::{self, Variables};
use super::rule::Rule;

#[cfg(test)]
pub(crate) use self::rules::rule_of;

/// Files that one profile may draw in, and how deep: what is more goes in a circle.
const FILES: usize = 512;
const DEPTH: usize = 16;

/// A profile or a file that it includes is not larger.
const FILE_LIMIT: u64 = 1 << 20;

/// A rule that stands in a profile.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) rule: Rule,
    /// Takes rather than gives, and wins over what gives.
    pub(crate) deny: bool,
    /// As its author wrote it.
    pub(crate) text: String,
    /// What was included to bring it; empty for the profile's own.
    pub(crate) from: String,
}

/// A profile, a child profile or a hat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    /// Its name, without that of its parent.
    pub(crate) name: String,
    /// A hat, which is entered by change_hat.
    pub(crate) hat: bool,
    /// Words of `flags=(..)`.
    pub(crate) flags: Vec<String>,
    /// What it grants and denies.
    pub(crate) rules: Vec<Written>,
    /// Child profiles and hats.
    pub(crate) children: Vec<Profile>,
    /// What it includes, as written between the brackets.
    pub(crate) includes: Vec<String>,
    /// Where its closing brace stands in the file.
    pub(crate) end: usize,
    /// Where its opening brace stands in the file.
    pub(crate) start: usize,
}

impl Profile {
    /// The child or hat of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// What a file of profiles says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) profiles: Vec<Profile>,
    pub(crate) variables: Variables,
    /// What `abi` names, without brackets.
    pub(crate) abi: Option<String>,
    /// Statements that were passed over, each with why.
    pub(crate) passed_over: Vec<String>,
}

/// Where included files are.
pub(crate) trait Files {
    /// The files that `include` names, each with its name: one, those of a folder, or none.
    fn load(&self, name: &str, magic: bool) -> io::Result<Vec<(String, String)>>;
}

/// Folders of the file system, as `apparmor_parser --Include`.
#[derive(Clone, Debug)]
pub(crate) struct Folders(pub(crate) Vec<PathBuf>);

impl Files for Folders {
    fn load(&self, name: &str, magic: bool) -> io::Result<Vec<(String, String)>> {
        let found = if !magic || name.starts_with('/') {
            // Relative ones are looked for beside the profiles, too.
            let beside = self.0.iter().map(|folder| folder.join(name));
            std::iter::once(PathBuf::from(name)).chain(beside).find(|path| path.exists())
        } else {
            self.0.iter().map(|folder| folder.join(name)).find(|path| path.exists())
        };
        let path = found.ok_or(io::ErrorKind::NotFound)?;
        if !path.is_dir() {
            return Ok(vec![(name.to_owned(), read_file(&path)?)]);
        }
        let mut files: Vec<PathBuf> = fs::read_dir(path)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.is_file()
                    && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
            })
            .collect();
        files.sort();
        files.truncate(FILES);
        files.iter().map(|path| Ok((path.display().to_string(), read_file(path)?))).collect()
    }
}

/// A profile's text; what is not UTF-8 in it stands for itself no more, and so grants nothing.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_LIMIT {
        return Err(io::Error::other("larger than 1MiB, which no profile is"));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Reads the text of a file of profiles, with what it includes.
pub(crate) fn read(text: &str, files: &dyn Files) -> Source {
    let mut reader =
        Reader { files, source: Source { variables: builtin(), ..Source::default() }, opened: 0 };
    let mut outside = Profile::default();
    reader.block(&mut Statements::new(text), &mut outside, &Place::default());
    reader.source.profiles = outside.children;
    reader.source
}

/// What the tunables of every distribution say, for where they are not at hand.
pub(crate) fn builtin() -> Variables {
    // tunables/kernelvars: no zero before a number, and no process of that number.
    let digits = |first: &str, most: usize| -> String {
        let numbers = (1..most).map(|more| format!("[1-9]{}", "[0-9]".repeat(more)));
        let all: Vec<_> = std::iter::once(first.to_owned()).chain(numbers).collect();
        format!("{{{}}}", all.join(","))
    };
    [
        ("pid", vec![digits("[1-9]", 7)]),
        ("tid", vec![digits("[1-9]", 7)]),
        ("uid", vec![digits("[0-9]", 10)]),
        ("PROC", vec!["/proc/".to_owned()]),
        ("sys", vec!["/sys/".to_owned()]),
        ("run", vec!["/run/".to_owned(), "/var/run/".to_owned()]),
        ("HOMEDIRS", vec!["/home/".to_owned()]),
        ("HOME", vec!["@{HOMEDIRS}/*/".to_owned(), "/root/".to_owned()]),
    ]
    .into_iter()
    .map(|(name, values)| (name.to_owned(), values))
    .collect()
}

/// Where a statement stands.
#[derive(Clone, Debug, Default)]
struct Place {
    /// What was included to get here; empty in the file itself.
    from: String,
    depth: usize,
    /// In the branch of a condition, of which it is not known whether it holds.
    maybe: bool,
}

struct Reader<'f> {
    files: &'f dyn Files,
    source: Source,
    opened: usize,
}

impl Reader<'_> {
    /// Reads statements into `into`, up to the brace that closes it.
    fn block(&mut self, statements: &mut Statements<'_>, into: &mut Profile, place: &Place) {
        while let Some(statement) = statements.next_one() {
            match statement {
                Statement::Close(at) => {
                    if place.from.is_empty() {
                        into.end = at;
                    }
                    return;
                }
                Statement::Open(header, at) => self.open(header, at, statements, into, place),
                Statement::Include { name, magic, optional } => {
                    self.include(name, magic, optional, into, place);
                }
                Statement::Variable { name, add, values } => {
                    let values = values.into_iter().map(str::to_owned);
                    let entry = self.source.variables.entry(name.to_owned()).or_default();
                    if !add {
                        entry.clear();
                    }
                    entry.extend(values);
                }
                Statement::Rule(text) => self.rule(text, into, place),
            }
        }
    }

    fn open(
        &mut self,
        header: &str,
        at: usize,
        statements: &mut Statements<'_>,
        into: &mut Profile,
        place: &Place,
    ) {
        // Names have no limit in the language; a file that nests without end is not a profile.
        if place.depth >= DEPTH {
            self.source.passed_over.push(format!("{header}: nested too deep"));
            statements.skip_block();
            return;
        }
        let mut inside = Place { depth: place.depth + 1, ..place.clone() };
        let Some(mut profile) = rules::header(header) else {
            // `if`, `else`: what stands there may hold or not.
            inside.maybe = true;
            let mut branch = Profile::default();
            self.block(statements, &mut branch, &inside);
            into.children.append(&mut branch.children);
            return;
        };
        profile.start = at;
        let outer = self
            .source
            .variables
            .insert("profile_name".to_owned(), vec![self.full_name(&profile.name, into)]);
        self.block(statements, &mut profile, &inside);
        if let Some(outer) = outer {
            self.source.variables.insert("profile_name".to_owned(), outer);
        }
        into.children.push(profile);
    }

    /// What `@{profile_name}` is inside of a profile: its parents' names are part of it, and nothing in it is a
    /// pattern (`process_profile_variables` of apparmor_parser).
    fn full_name(&self, name: &str, parent: &Profile) -> String {
        let name = glob::literal(name.as_bytes());
        match self.source.variables.get("profile_name").and_then(|values| values.first()) {
            Some(outer) if !parent.name.is_empty() => format!("{outer}//{name}"),
            _ => name,
        }
    }

    fn include(&mut self, name: &str, magic: bool, optional: bool, into: &mut Profile, place: &Place) {
        if place.from.is_empty() {
            into.includes.push(name.to_owned());
        }
        let files = match self.files.load(name, magic) {
            Ok(files) => files,
            Err(error) if optional && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.source.passed_over.push(format!("include {name}: {error}"));
                return;
            }
        };
        for (_, text) in files {
            if self.opened >= FILES || place.depth >= DEPTH {
                self.source.passed_over.push(format!("include {name}: it goes in a circle"));
                return;
            }
            self.opened += 1;
            let from = if place.from.is_empty() { name.to_owned() } else { place.from.clone() };
            let inside = Place { from, depth: place.depth + 1, maybe: place.maybe };
            self.block(&mut Statements::new(&text), into, &inside);
        }
    }

    fn rule(&mut self, text: &str, into: &mut Profile, place: &Place) {
        if let Some(abi) = text.strip_prefix("abi ") {
            if place.from.is_empty() {
                self.source.abi =
                    Some(abi.trim_matches(|c: char| c.is_whitespace() || "<>\"".contains(c)).to_owned());
            }
            return;
        }
        if place.maybe {
            self.source.passed_over.push(format!("{text}: under a condition"));
            return;
        }
        match rules::rules(text, &self.source.variables) {
            Some((deny, found)) => into.rules.extend(found.into_iter().map(|rule| Written {
                rule,
                deny,
                text: text.to_owned(),
                from: place.from.clone(),
            })),
            None => self.source.passed_over.push(format!("{text}: not understood")),
        }
    }
}
