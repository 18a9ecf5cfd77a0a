//! The file in which the history outlives the agent: a redb database with one table.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::evidence::Evidence;

/// Record to what was seen of it, as JSON.
const KINDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kinds-1");

const FILE: &str = "history.redb";
/// What is not readable is kept for whoever wants to know why.
const ASIDE: &str = "history.redb.unreadable";
/// There while a database is being read: one that ended an agent is not opened twice.
const OPENING: &str = "history.redb.opening";

/// How much of the file is kept in memory.
const CACHE: usize = 1 << 20;

/// An open database.
pub(super) struct Store(Database);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the database of `folder`, and reads it. One that is damaged is set aside for a new one.
    ///
    /// redb panics on some kinds of damage, which ends a release build. So `check` looks at the file first,
    /// where that harms nobody.
    pub(super) fn open(folder: &Path, check: Check<'_>) -> anyhow::Result<(Self, Vec<Evidence>)> {
        // What programs did is nobody else's business.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let (path, opening) = (folder.join(FILE), folder.join(OPENING));
        if opening.exists() {
            set_aside(&path, &anyhow!("the agent ended while reading it"))?;
        }
        if path.exists()
            && let Err(error) = check(folder)
        {
            set_aside(&path, &error)?;
        }
        fs::write(&opening, "").with_context(|| format!("cannot write in {}", folder.display()))?;
        let opened = open(&path).or_else(|error| {
            // Another agent's, or a disk's fault: the file may be all right.
            if is_open_elsewhere(&error) {
                return Err(error);
            }
            set_aside(&path, &error)?;
            open(&path)
        });
        let _ = fs::remove_file(&opening);
        opened
    }

    /// Puts these in place of what was known of the same records.
    pub(super) fn write(&self, evidence: &[Evidence]) -> anyhow::Result<()> {
        if evidence.is_empty() {
            return Ok(());
        }
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(KINDS)?;
            for one in evidence {
                table.insert(one.record.as_str(), serde_json::to_vec(&one.seen)?.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Forgets these.
    pub(super) fn remove(&self, records: &[String]) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(KINDS)?;
            for record in records {
                table.remove(record.as_str())?;
            }
        }
        Ok(transaction.commit()?)
    }
}

/// Whether the database of a folder can be read.
pub(super) type Check<'a> = &'a dyn Fn(&Path) -> anyhow::Result<()>;

/// Reads the database of `folder` for nothing but to see whether it can be read. One that another agent has
/// open is not judged.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    match open(&folder.join(FILE)) {
        Err(error) if !is_open_elsewhere(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_open_elsewhere(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(redb::DatabaseError::DatabaseAlreadyOpen))
}

fn open(path: &Path) -> anyhow::Result<(Store, Vec<Evidence>)> {
    let what = || format!("cannot open {}", path.display());
    let mut database = Database::builder().set_cache_size(CACHE).create(path).with_context(what)?;
    // Every page's checksum: what was damaged on the disk is found now and not in the middle of a day.
    anyhow::ensure!(database.check_integrity().with_context(what)?, "{} is damaged", path.display());
    let transaction = database.begin_write().with_context(what)?;
    transaction.open_table(KINDS).with_context(what)?;
    transaction.commit().with_context(what)?;
    let kept = all(&database).with_context(what)?;
    Ok((Store(database), kept))
}

fn all(database: &impl ReadableDatabase) -> anyhow::Result<Vec<Evidence>> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(KINDS)?;
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (record, seen) = entry?;
        // Of another version: not understood, and written anew when it is seen again.
        if let Ok(seen) = serde_json::from_slice(seen.value()) {
            all.push(Evidence { record: record.value().to_owned(), seen });
        }
    }
    Ok(all)
}

/// Reads a database that no agent has open.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<Evidence>> {
    let path = folder.join(FILE);
    let what =
        || format!("cannot read {}; while an agent runs, ask it (leave out --history)", path.display());
    let database = Database::builder().set_cache_size(CACHE).open(&path).with_context(what)?;
    all(&database).with_context(what)
}

fn set_aside(path: &Path, why: &anyhow::Error) -> anyhow::Result<()> {
    let aside: PathBuf = path.with_file_name(ASIDE);
    match fs::rename(path, &aside) {
        Ok(()) => {
            tracing::warn!("{} cannot be used and is now {}: {why:#}", path.display(), aside.display());
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot set {} aside", path.display())),
    }
}
