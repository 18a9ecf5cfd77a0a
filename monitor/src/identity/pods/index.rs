//! Container ids and pod UIDs to names. Pure: told what changed, and what time it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::kube_pod::{KubeContainer, KubePod};
use crate::identity::{Container, Pod};

/// How much an index keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pods, present and gone.
    pub pods: usize,
    /// Container ids, present and gone.
    pub containers: usize,
    /// How long what is gone can still be found.
    pub keep: Duration,
}

impl Default for Limits {
    /// Four times what the largest nodes run; some 4 MiB when full.
    fn default() -> Self {
        Self { pods: 4_096, containers: 16_384, keep: Duration::from_secs(600) }
    }
}

/// Something that is or was there.
#[derive(Debug)]
struct Known<T> {
    it: T,
    /// Since when it is there no more.
    gone: Option<Instant>,
}

impl<T> Known<T> {
    fn leave(&mut self, now: Instant) {
        self.gone.get_or_insert(now);
    }
}

/// What is known of a container that a cgroup path has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The pod's status has its id.
    Fully(Arc<Container>),
    /// Its pod is known. The container's name is the only one that it can be, or empty.
    ByPod(Arc<Container>),
}

/// By UID or container id: not a workload's choice, so that a hasher quicker than the standard one will do.
type ById<T> = HashMap<Box<str>, Known<T>, RandomState>;

/// The pods of a node, and those that were on it a short while ago.
#[derive(Debug)]
pub struct Index {
    limits: Limits,
    pods: ById<Arc<KubePod>>,
    /// Asked for each event, twice.
    containers: ById<Arc<Container>>,
    /// A static pod's hash to the UID of its mirror.
    hashes: HashMap<Box<str>, Box<str>>,
    refused: u64,
}

impl Index {
    /// One that knows nothing.
    pub fn new(limits: Limits) -> Self {
        let (pods, containers) = (HashMap::default(), HashMap::default());
        Self { limits, pods, containers, hashes: HashMap::new(), refused: 0 }
    }

    /// A pod is there, and is like this now.
    pub fn apply(&mut self, pod: KubePod, now: Instant) {
        let uid = pod.pod.uid.clone();
        if uid.is_empty() || !self.make_room_for_pod(&uid, now) {
            self.refused += 1;
            return;
        }
        let pod = Arc::new(pod);
        let before = self.pods.insert(uid, Known { it: Arc::clone(&pod), gone: None });
        if let Some(before) = before {
            self.leave_ids(&before.it, |id| pod.ids().any(|(new, _)| new == id), now);
        }
        for (id, container) in pod.ids() {
            self.add_container(id, container, &pod.pod, now);
        }
        if let Some(hash) = &pod.config_hash {
            self.hashes.insert(hash.clone(), pod.pod.uid.clone());
        }
    }

    /// A pod is there no more.
    pub fn delete(&mut self, uid: &str, now: Instant) {
        let Some(known) = self.pods.get_mut(uid) else { return };
        known.leave(now);
        let pod = Arc::clone(&known.it);
        self.leave_ids(&pod, |_| false, now);
    }

    /// These pods are there, and no others.
    pub fn replace(&mut self, pods: Vec<KubePod>, now: Instant) {
        let here: std::collections::HashSet<&str> = pods.iter().map(|pod| &*pod.pod.uid).collect();
        let gone: Vec<_> = self.pods.keys().filter(|uid| !here.contains(&***uid)).cloned().collect();
        for uid in gone {
            self.delete(&uid, now);
        }
        for pod in pods {
            self.apply(pod, now);
        }
    }

    /// Forgets what has been gone for too long.
    pub fn expire(&mut self, now: Instant) {
        let keep = self.limits.keep;
        let stays =
            |gone: Option<Instant>| gone.is_none_or(|gone| now.saturating_duration_since(gone) < keep);
        self.containers.retain(|_, known| stays(known.gone));
        self.pods.retain(|_, known| stays(known.gone));
        let pods = &self.pods;
        self.hashes.retain(|_, uid| pods.contains_key(uid));
    }

    /// What is known of the container with this id, in the pod with this UID (or hash, of a static pod).
    ///
    /// Only a pod that has no other container, and whose status has no id for it yet, lends its container's
    /// name: an id that is not in the status may as well be a sandbox, or a restart.
    pub fn find(&self, id: &str, pod: Option<&str>) -> Option<Named> {
        if let Some(known) = self.containers.get(id) {
            return Some(Named::Fully(Arc::clone(&known.it)));
        }
        let kube = &self.by_uid_or_hash(pod?)?.it;
        let container = match &*kube.containers {
            [only] if only.id.is_none() => named(id, only, &kube.pod),
            _ => Container { id: id.into(), pod: Some(Arc::clone(&kube.pod)), ..Container::default() },
        };
        Some(Named::ByPod(Arc::new(container)))
    }

    /// The pods that are there now.
    pub fn present(&self) -> impl Iterator<Item = &Arc<KubePod>> {
        self.pods.values().filter(|known| known.gone.is_none()).map(|known| &known.it)
    }

    /// How many pods were not taken in, because there were too many or they had no UID.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn by_uid_or_hash(&self, uid: &str) -> Option<&Known<Arc<KubePod>>> {
        self.pods.get(uid).or_else(|| self.pods.get(self.hashes.get(uid)?))
    }

    fn leave_ids(&mut self, pod: &KubePod, stays: impl Fn(&str) -> bool, now: Instant) {
        for (id, _) in pod.ids().filter(|(id, _)| !stays(id)) {
            if let Some(known) = self.containers.get_mut(id) {
                known.leave(now);
            }
        }
    }

    fn add_container(&mut self, id: &str, spec: &KubeContainer, pod: &Arc<Pod>, now: Instant) {
        let container = named(id, spec, pod);
        if let Some(known) = self.containers.get_mut(id) {
            known.gone = None;
            // The same allocation for the same content: others hold it.
            if *known.it != container {
                known.it = Arc::new(container);
            }
            return;
        }
        if self.containers.len() >= self.limits.containers {
            self.expire(now);
            if self.containers.len() >= self.limits.containers && !forget_longest_gone(&mut self.containers) {
                self.refused += 1;
                return;
            }
        }
        self.containers.insert(id.into(), Known { it: Arc::new(container), gone: None });
    }

    /// Whether there is room for this pod now.
    fn make_room_for_pod(&mut self, uid: &str, now: Instant) -> bool {
        if self.pods.contains_key(uid) || self.pods.len() < self.limits.pods {
            return true;
        }
        self.expire(now);
        self.pods.len() < self.limits.pods || forget_longest_gone(&mut self.pods)
    }
}

fn named(id: &str, spec: &KubeContainer, pod: &Arc<Pod>) -> Container {
    Container {
        id: id.into(),
        name: spec.name.clone(),
        image: spec.image.clone(),
        pod: Some(Arc::clone(pod)),
    }
}

/// Whether there was one.
fn forget_longest_gone<T>(known: &mut ById<T>) -> bool {
    let gone = known.iter().filter_map(|(key, known)| Some((known.gone?, key)));
    let Some(key) = gone.min().map(|(_, key)| key.clone()) else { return false };
    known.remove(&key);
    true
}

#[cfg(test)]
mod tests;
