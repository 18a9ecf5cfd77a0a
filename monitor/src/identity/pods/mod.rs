//! The pods of this node: whose container an id is.
//!
//! `index` is the pure core; `api` fills it from the API server, `kubelet` from the node's kubelet. Everybody
//! else reads it through [`Pods`].

mod api;
mod backoff;
pub mod client;
pub mod index;
mod kube_pod;
mod kubelet;
mod kubelet_client;
mod lines;
pub mod node_name;
mod read;
mod report;
mod request;
mod start;
mod workload;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use self::index::{Index, Limits, Named};
pub use self::kube_pod::{AppArmorRef, ContainerKind, ContainerState, KubeContainer, KubePod};
pub use self::kubelet_client::Trust;
pub use self::start::{NoAnswer, Options, start, try_out};
use super::naming::Waits;

/// Where the pods come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server.
    Api,
    /// This node's kubelet.
    Kubelet,
}

impl Source {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Api, Self::Kubelet];

    /// The word used in labels, settings and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Kubelet => "kubelet",
        }
    }
}

/// The pods of this node, shared by who fills and who asks.
#[derive(Debug)]
pub struct Pods {
    source: Option<Source>,
    index: RwLock<Index>,
    /// Counts changes; for who wants to wait for one.
    changed: watch::Sender<u64>,
    /// Somebody asked for a container that is not known.
    missed: Notify,
    up: AtomicBool,
    /// It has been said whether the source answers.
    asked: AtomicBool,
    synced: AtomicBool,
    failures: AtomicU64,
    waits: Waits,
}

impl Pods {
    /// None yet. Without a source there never will be any.
    pub fn new(source: Option<Source>, limits: Limits) -> Self {
        Self {
            source,
            index: RwLock::new(Index::new(limits)),
            changed: watch::Sender::new(0),
            missed: Notify::new(),
            up: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            synced: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            waits: Waits::default(),
        }
    }

    /// What is known of the container with this id, whose cgroup names this pod (by UID, or by hash).
    pub fn find(&self, id: &str, pod: Option<&str>) -> Option<Named> {
        self.read().find(id, pod)
    }

    /// Whether a container that is not known yet is likely to be known in a moment. So it is before the source's first
    /// answer: what an agent finds in the ring when it starts would be told without names otherwise.
    pub fn worth_waiting(&self) -> bool {
        self.source.is_some() && (self.up() || !self.asked.load(Ordering::Relaxed))
    }

    /// Says that a container was asked for that is not known. A source that has to be asked then is.
    pub fn missed(&self) {
        self.missed.notify_one();
    }

    /// The pods that are there now.
    pub fn snapshot(&self) -> Vec<Arc<KubePod>> {
        self.read().present().cloned().collect()
    }

    /// How many there are now.
    pub fn present(&self) -> usize {
        self.read().present().count()
    }

    /// A counter that moves with every change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the source has ever told of all pods.
    pub fn synced(&self) -> bool {
        self.synced.load(Ordering::Relaxed)
    }

    /// Where they come from.
    pub const fn source(&self) -> Option<Source> {
        self.source
    }

    /// Whether the source answers.
    pub fn up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// How often it did not.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What became of events that waited for a name.
    pub const fn waits(&self) -> &Waits {
        &self.waits
    }

    /// How many pods and containers there was no room for.
    pub fn refused(&self) -> u64 {
        self.read().refused()
    }

    /// Forgets what has been gone for too long.
    pub fn expire(&self, now: Instant) {
        self.write().expire(now);
    }

    /// Says whether the source answers.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes in a pod that is new, or is like this now.
    pub fn apply(&self, pod: KubePod) {
        self.write().apply(pod, now());
        self.tell();
    }

    fn delete(&self, pod: &KubePod) {
        self.write().delete(&pod.pod.uid, now());
        self.tell();
    }

    fn replace(&self, pods: Vec<KubePod>) {
        self.write().replace(pods, now());
        self.synced.store(true, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the runtime's clock, which a test can turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
