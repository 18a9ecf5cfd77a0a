//! Profiles and containers of this node, as far as violations told of them.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::quality::RandomState;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use super::told::{what, who};
use crate::identity::Container;
use crate::identity::unrecorded::Unrecorded;
use crate::merge::Event;
use crate::output::escape::escape;
use crate::output::history::History;
use crate::output::since_epoch;
use crate::record::{Verdict, profile_base};

/// Containers that are told apart; the one that was quiet for longest makes room.
const CONTAINERS: usize = 1_000;
/// Kinds of denials without a record that are told apart; the one that was quiet for longest makes room.
const SILENT_KINDS: usize = 1_000;
/// Profiles of which it is told how many there were.
const SILENT_PROFILES: usize = 4_096;
/// Pods of one profile that are told apart.
const PODS: usize = 1_000;

/// The loaded profiles, one a line, each with its mode.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When it was made, nanoseconds since the epoch.
    pub now: u64,
    /// Profiles that had violations, and those that are loaded.
    pub profiles: Vec<ProfileStatus>,
    /// Containers of this node's pods, and those that had violations since the agent started.
    pub containers: Vec<ContainerStatus>,
    /// What was refused without a record since the agent started, each with its reason; empty unless it is counted.
    #[serde(default)]
    pub silent: Vec<SilentStatus>,
    /// Containers without a violation that there was no room to tell of.
    #[serde(default)]
    pub left_out: u64,
}

/// One profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// Its name, in which nothing acts.
    pub profile: String,
    /// `enforce`, `complain` and so on; none when it is not loaded or the list cannot be read.
    pub mode: Option<String>,
    /// Violations refused since the agent started.
    pub denied: u64,
    /// Violations let through by complain mode since the agent started.
    pub would_deny: u64,
    /// Refused without a record since the agent started; none of them is in `denied`. 0 unless they are counted.
    #[serde(default)]
    pub silent: u64,
    /// Kinds of violations that are remembered.
    pub distinct: u64,
    /// When the last one was, nanoseconds since the epoch; 0 for never.
    pub last: u64,
    /// When the latest kind was first seen.
    pub last_new: u64,
    /// Pods that had violations of it.
    pub pods: u64,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The runtime's id; empty before there is one.
    #[serde(default)]
    pub id: String,
    /// `namespace/pod`, where it is known.
    pub pod: String,
    /// Its name, or its id.
    pub container: String,
    /// The profile that decided last; empty when nothing was violated.
    pub profile: String,
    /// What its pod asked for, in the annotation's words; none where no pod is known.
    #[serde(default)]
    pub requested: Option<String>,
    /// What it runs under, once that was read.
    #[serde(default)]
    pub applied: Option<String>,
    /// The mode of that; else of the profile that decided last.
    #[serde(default)]
    pub mode: Option<String>,
    /// Refused.
    pub denied: u64,
    /// Let through by complain mode.
    pub would_deny: u64,
    /// Refused without a record; none of them is in `denied`.
    #[serde(default)]
    pub silent: u64,
    /// When the last one was.
    pub last: u64,
}

/// One kind of denials without a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentStatus {
    /// The profile that decided.
    pub profile: String,
    /// `namespace/pod/container`, the start of the container's id, or `-`.
    pub who: String,
    /// `file`, `capability` and so on.
    pub class: String,
    /// The operation and its first object, or the capability.
    pub what: String,
    /// Why there is no record.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// When the last one was read, nanoseconds since the epoch.
    pub last: u64,
}

#[derive(Debug, Default)]
struct Books {
    containers: HashMap<String, ContainerStatus, RandomState>,
    pods: HashMap<String, HashSet<Box<str>, RandomState>, RandomState>,
    /// By profile, who, class, operation or capability, and reason.
    silent: HashMap<[String; 5], SilentStatus, RandomState>,
    silent_profiles: HashMap<String, u64, RandomState>,
}

impl Books {
    /// The books of a container; the one that was quiet for longest makes room.
    fn container(&mut self, container: &Container) -> &mut ContainerStatus {
        if self.containers.len() >= CONTAINERS && !self.containers.contains_key(&*container.id) {
            let quiet = self.containers.iter().min_by_key(|(_, known)| known.last).map(|(id, _)| id.clone());
            quiet.and_then(|id| self.containers.remove(&id));
        }
        let status = self.containers.entry_ref(&*container.id).or_default();
        if let Some(pod) = container.pod.as_deref().filter(|pod| !pod.name.is_empty()) {
            let (namespace, name) = (&*pod.namespace, &*pod.name);
            let known = status.pod.split_once('/').is_some_and(|known| known == (namespace, name));
            if !known {
                status.pod = format!("{namespace}/{name}");
            }
        }
        let name = if container.name.is_empty() { &container.id } else { &container.name };
        set(&mut status.container, &escape(name.as_bytes(), 128));
        status
    }

    /// Notes that a pod had a violation of `profile`.
    fn pod(&mut self, profile: &str, uid: &str) {
        if self.pods.len() >= PODS && !self.pods.contains_key(profile) {
            return;
        }
        let pods = self.pods.entry_ref(profile).or_default();
        if pods.len() < PODS && !pods.contains(uid) {
            pods.insert(uid.into());
        }
    }
}

/// Has `text` be `value`; mostly it is.
fn set(text: &mut String, value: &str) {
    if text != value {
        value.clone_into(text);
    }
}

/// Violations by container.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<Books>);

impl Tallies {
    pub(super) fn observe(&self, event: &Event<'_>) {
        let (Some(container), violation) = (&event.subject.container, event.violation) else { return };
        let denied = match violation.verdict {
            Verdict::Denied | Verdict::Killed => true,
            Verdict::Allowed => false,
            _ => return,
        };
        let base = profile_base(violation.profile.unwrap_or_default());
        let profile = escape(&base, 256);
        let pod = container.pod.as_deref();
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = pod {
            books.pod(&profile, &pod.uid);
        }
        let status = books.container(container);
        set(&mut status.profile, &profile);
        *(if denied { &mut status.denied } else { &mut status.would_deny }) += 1;
        status.last = status.last.max(violation.time.unwrap_or(0));
    }

    pub(super) fn observe_unrecorded(&self, unrecorded: &Unrecorded<'_>) {
        let Unrecorded { denial, subject } = *unrecorded;
        let (profile, last) =
            (escape(&profile_base(&denial.profile), 256).into_owned(), since_epoch(denial.read));
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if books.silent_profiles.len() < SILENT_PROFILES || books.silent_profiles.contains_key(&profile) {
            *books.silent_profiles.entry(profile.clone()).or_default() += denial.count;
        }
        if let Some(container) = &subject.container {
            let status = books.container(container);
            status.profile.clone_from(&profile);
            status.silent += denial.count;
            status.last = status.last.max(last);
        }
        let (who, class, reason) = (who(subject), denial.class.as_str(), denial.reason.as_str());
        let kind = match denial.capability {
            Some(number) => number.to_string(),
            None => escape(&denial.operation, 64).into_owned(),
        };
        let key = [profile.clone(), who.clone(), class.to_owned(), kind, reason.to_owned()];
        if books.silent.len() >= SILENT_KINDS && !books.silent.contains_key(&key) {
            let quiet = books.silent.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| key.clone());
            quiet.and_then(|key| books.silent.remove(&key));
        }
        let status = books.silent.entry(key).or_insert_with(|| SilentStatus {
            profile,
            who,
            class: class.to_owned(),
            what: what(unrecorded),
            reason: reason.to_owned(),
            count: 0,
            last,
        });
        status.count += denial.count;
        status.last = status.last.max(last);
    }

    pub(super) fn status(&self, history: &History) -> Status {
        let loaded = fs::read(LOADED).map(|text| modes(&text)).unwrap_or_default();
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut quiet_denials = books.silent_profiles.clone();
        let pods = |profile: &str| books.pods.get(profile).map_or(0, |pods| pods.len() as u64);
        let mut profiles: Vec<_> = history
            .profiles()
            .into_iter()
            .map(|(profile, book)| ProfileStatus {
                mode: loaded.get(&profile).cloned(),
                denied: book.denied,
                would_deny: book.allowed,
                silent: 0,
                distinct: book.distinct,
                last: book.last,
                last_new: book.last_new,
                pods: pods(&profile),
                profile,
            })
            .collect();
        let quiet = loaded.iter().filter(|(name, _)| !profiles.iter().any(|known| known.profile == **name));
        let quiet: Vec<_> = quiet
            .map(|(name, mode)| ProfileStatus {
                profile: name.clone(),
                mode: Some(mode.clone()),
                ..Default::default()
            })
            .collect();
        profiles.extend(quiet);
        for profile in &mut profiles {
            profile.silent = quiet_denials.remove(&profile.profile).unwrap_or(0);
        }
        // Of profiles that are not loaded any more, and had no other violations.
        let gone = |(profile, silent)| ProfileStatus { profile, silent, ..Default::default() };
        profiles.extend(quiet_denials.into_iter().map(gone));
        profiles.sort_by(|a, b| a.profile.cmp(&b.profile));
        let with_id = books
            .containers
            .iter()
            .map(|(id, status)| ContainerStatus { id: id.to_string(), ..status.clone() });
        let mut containers: Vec<_> = with_id.collect();
        containers.sort_by(|a, b| (&a.pod, &a.container).cmp(&(&b.pod, &b.container)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        let mut silent: Vec<_> = books.silent.values().cloned().collect();
        silent.sort_by(|a, b| {
            (&a.profile, &a.who, &a.class, &a.what, &a.reason)
                .cmp(&(&b.profile, &b.who, &b.class, &b.what, &b.reason))
        });
        Status { now, profiles, containers, silent, left_out: 0 }
    }
}

/// `name (mode)`, a line each; names may hold spaces and parentheses.
fn modes(text: &[u8]) -> HashMap<String, String, RandomState> {
    let lines = text.split(|byte| *byte == b'\n');
    let pair = |line: &[u8]| {
        let line = line.strip_suffix(b")")?;
        let at = line.windows(2).rposition(|two| two == b" (")?;
        let (name, mode) = (line.get(..at)?, line.get(at + 2..)?);
        Some((escape(name, 256).into_owned(), escape(mode, 32).into_owned()))
    };
    lines.filter_map(pair).collect()
}

impl ProfileStatus {
    /// Whether there has been nothing new for long enough to think of enforcing it: `ready: quiet for 26h
    /// over 12 pods`. None for a profile that is enforced, is not loaded, or of which nothing is known.
    pub fn readiness(&self, now: u64, quiet: std::time::Duration) -> Option<String> {
        if self.mode.as_deref() != Some("complain") || self.last_new == 0 {
            return None;
        }
        let silent = std::time::Duration::from_nanos(now.saturating_sub(self.last_new));
        let hours = silent.as_secs() / 3600;
        let word = if silent >= quiet { "ready" } else { "not yet" };
        let over = match self.pods {
            0 => String::new(),
            1 => " over 1 pod".to_owned(),
            pods => format!(" over {pods} pods"),
        };
        Some(format!("{word}: quiet for {hours}h{over}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_stand_behind_the_last_parenthesis() {
        let modes = modes(b"docker-default (enforce)\na b (x) (complain)\n\nnonsense\n");
        assert_eq!(modes.len(), 2);
        assert_eq!(modes.get("a b (x)").map(String::as_str), Some("complain"));
    }

    #[test]
    fn a_profile_is_ready_when_nothing_new_came_for_long_enough() {
        let hour = 3_600_000_000_000;
        let profile = |mode: Option<&str>, last_new, pods| ProfileStatus {
            mode: mode.map(str::to_owned),
            last_new,
            pods,
            ..Default::default()
        };
        for (profile, want) in [
            (profile(Some("complain"), hour, 12), Some("ready: quiet for 26h over 12 pods")),
            (profile(Some("complain"), 20 * hour, 1), Some("not yet: quiet for 7h over 1 pod")),
            (profile(Some("complain"), 0, 0), None),
            (profile(Some("enforce"), hour, 1), None),
            (profile(None, hour, 1), None),
        ] {
            let got = profile.readiness(27 * hour, std::time::Duration::from_secs(24 * 3600));
            assert_eq!(got.as_deref(), want, "{profile:?}");
        }
    }
}
