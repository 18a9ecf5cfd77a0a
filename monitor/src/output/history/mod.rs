//! What has been violated so far, each kind once: with how often, when, by whom. Kept over restarts.
//!
//! Bounded by kinds, by kinds a profile and by bytes; what there is no room for is counted. A flood of one
//! profile cannot push out what another one's author waits for, because nothing is pushed out: a kind goes
//! when it has not been seen for [`FORGET_AFTER`].

pub mod evidence;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::quality::RandomState;
use hashbrown::HashMap;

pub use self::evidence::{Evidence, Seen};
use self::store::Store;
use crate::merge::Event;
use crate::record::Verdict;

/// Kinds of violations that are remembered, of all profiles and of one.
const KINDS: usize = 10_000;
const KINDS_OF_PROFILE: usize = 2_000;
/// Bytes of their records.
const BYTES: usize = 16 << 20;
/// Profiles that are told apart.
const PROFILES: usize = 500;
/// A kind that was not seen for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(90 * 24 * 3600);
/// How often what has changed is written.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// What is known of one profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileBook {
    /// Kinds of violations.
    pub distinct: u64,
    /// When the latest kind was first seen, nanoseconds since the epoch.
    pub last_new: u64,
    /// When the latest violation was.
    pub last: u64,
    /// Refused, since the agent started.
    pub denied: u64,
    /// Let through by complain mode, since the agent started.
    pub allowed: u64,
}

impl ProfileBook {
    fn count(&mut self, event: &Event<'_>) {
        let violation = event.violation;
        match violation.verdict {
            Verdict::Allowed => self.allowed += 1,
            _ => self.denied += 1,
        }
        self.last = self.last.max(violation.time.unwrap_or(0));
    }
}

#[derive(Debug)]
struct Kind {
    seen: Seen,
    profile: Box<str>,
    dirty: bool,
}

#[derive(Debug, Default)]
struct State {
    kinds: HashMap<Box<str>, Kind, RandomState>,
    bytes: usize,
    profiles: HashMap<Box<str>, ProfileBook, RandomState>,
}

/// The history of one agent.
#[derive(Debug)]
pub struct History {
    state: Mutex<State>,
    store: Mutex<Option<Store>>,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl History {
    /// Reads what is kept in `folder`, and keeps what is to come there. A folder or file that cannot be used
    /// is logged, and costs no more than what an agent before this one knew.
    pub fn open(folder: &Path) -> Self {
        Self::open_checked(folder, &check_apart)
    }

    fn open_checked(folder: &Path, check: store::Check<'_>) -> Self {
        let mut history = Self::in_memory();
        let since = nanos(SystemTime::now().checked_sub(FORGET_AFTER).unwrap_or(UNIX_EPOCH));
        match Store::open(folder, check) {
            Ok((store, kept)) => {
                let forgotten: Vec<_> =
                    kept.iter().filter(|one| one.seen.last < since).map(|one| one.record.clone()).collect();
                for evidence in kept {
                    if evidence.seen.last >= since {
                        // The store has each kind once.
                        history.add(&mut history.state(), evidence, false);
                    }
                }
                if let Err(error) = store.remove(&forgotten) {
                    tracing::warn!("cannot forget old violations: {error:#}");
                }
                history.store = Mutex::new(Some(store));
            }
            Err(error) => {
                history.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    "violations are remembered until this agent ends: {error:#}; name a folder with --state-dir"
                );
            }
        }
        history
    }

    /// Keeps everything for as long as it lives.
    pub fn in_memory() -> Self {
        Self {
            state: Mutex::default(),
            store: Mutex::new(None),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Takes note of `event`.
    pub fn observe(&self, event: &Event<'_>) {
        let Some(record) = evidence::canonical(event.violation) else { return };
        let mut guard = self.state();
        let State { kinds, profiles, .. } = &mut *guard;
        if let Some(kind) = kinds.get_mut(record.as_str()) {
            kind.seen.note(event);
            kind.dirty = true;
            if let Some(book) = profiles.get_mut(&kind.profile) {
                book.count(event);
            }
            return;
        }
        let mut seen = Seen::default();
        seen.note(event);
        if let Some(book) = self.add(&mut guard, Evidence { record, seen }, true) {
            book.count(event);
        }
    }

    /// Adds a kind that is not remembered yet; the book of its profile, unless there was no room.
    fn add<'a>(&self, state: &'a mut State, evidence: Evidence, dirty: bool) -> Option<&'a mut ProfileBook> {
        let profile = evidence.with(evidence::profile_of).flatten()?;
        let full = state.kinds.len() >= KINDS
            || state.bytes + evidence.record.len() > BYTES
            || match state.profiles.get(&profile) {
                Some(book) => book.distinct >= KINDS_OF_PROFILE as u64,
                None => state.profiles.len() >= PROFILES,
            };
        if full {
            self.dropped.fetch_add(evidence.seen.count, Ordering::Relaxed);
            return None;
        }
        state.bytes += evidence.record.len();
        let (first, last) = (evidence.seen.first, evidence.seen.last);
        let kind = Kind { seen: evidence.seen, profile: profile.clone(), dirty };
        state.kinds.insert(evidence.record.into(), kind);
        let book = state.profiles.entry(profile).or_default();
        book.distinct += 1;
        book.last_new = book.last_new.max(first);
        book.last = book.last.max(last);
        Some(book)
    }

    /// All that is remembered.
    pub fn evidence(&self) -> Vec<Evidence> {
        let state = self.state();
        let kinds = state.kinds.iter();
        kinds.map(|(record, kind)| Evidence { record: record.to_string(), seen: kind.seen.clone() }).collect()
    }

    /// What is known of each profile, by name.
    pub fn profiles(&self) -> Vec<(String, ProfileBook)> {
        let state = self.state();
        let mut all: Vec<_> =
            state.profiles.iter().map(|(name, book)| (name.to_string(), book.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// How many kinds are remembered.
    pub fn len(&self) -> usize {
        self.state().kinds.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Violations that there was no room to remember.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How often keeping it failed.
    pub fn failed_total(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes what has changed. Blocks for as long as the disk does.
    pub fn write(&self) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = store.as_mut() else { return };
        let changed: Vec<Evidence> = {
            let mut state = self.state();
            let changed = state.kinds.iter_mut().filter(|(_, kind)| kind.dirty);
            changed
                .map(|(record, kind)| {
                    kind.dirty = false;
                    Evidence { record: record.to_string(), seen: kind.seen.clone() }
                })
                .collect()
        };
        if let Err(error) = open.write(&changed) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("cannot keep violations over a restart: {error:#}");
            // The next time something changes, all of it is tried again.
            let mut state = self.state();
            for evidence in changed {
                if let Some(kind) = state.kinds.get_mut(evidence.record.as_str()) {
                    kind.dirty = true;
                }
            }
        }
    }

    /// Writes now and then, for ever.
    pub async fn keep_writing(self: Arc<Self>) {
        let mut tick = tokio::time::interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let history = Arc::clone(&self);
            // A panic of the store is logged by the hook; the next tick tries again.
            let _ = tokio::task::spawn_blocking(move || history.write()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command, of this same program, by which [`check`] runs in a process of its own.
pub const CHECK_COMMAND: &str = "check-history";

/// Looks whether what is kept in `folder` can be read. May panic when not: it is for a process of its own.
pub fn check(folder: &Path) -> anyhow::Result<()> {
    store::check(folder)
}

/// Has another process look whether what is kept in `folder` can be read.
fn check_apart(folder: &Path) -> anyhow::Result<()> {
    use std::process::{Command, Stdio};

    let child = Command::new("/proc/self/exe")
        .arg(CHECK_COMMAND)
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match child {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => anyhow::bail!("reading it ends with {status}"),
        // Not the file's fault; it is opened, and the note beside it says so should that be the end.
        Err(error) => {
            tracing::debug!(%error, "cannot start a process to check the history");
            Ok(())
        }
    }
}

/// Reads what an agent that does not run any more has kept in `folder`.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Evidence>> {
    store::read(folder)
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
