//! Names for containers of which a cgroup told the id and at most the pod's UID.

use std::sync::Arc;
use std::time::Instant;

use super::pods::Pods;
use super::pods::index::Named;
use super::runtime::Runtimes;
use super::{Container, Identity};

/// Everybody who can be asked for a name.
#[derive(Debug)]
pub struct Names {
    pods: Arc<Pods>,
    runtimes: Runtimes,
}

impl Names {
    /// By these pods, and by these runtimes' files.
    pub fn new(pods: Arc<Pods>, runtimes: Runtimes) -> Self {
        Self { pods, runtimes }
    }

    /// `identity` with all the names that are known now.
    pub fn name(&mut self, identity: &mut Identity, now: Instant) {
        if let Some(container) = &identity.container {
            identity.container = Some(self.of(container, now));
        }
    }

    /// The container whose name is likely to be known in a moment, if that is so: the kubelet has started it,
    /// and has not told of it yet.
    pub fn awaited<'a>(&self, identity: &'a Identity) -> Option<&'a str> {
        let container = identity.container.as_deref()?;
        if container.pod.is_none() || !self.pods.worth_waiting() || self.is_known(&container.id) {
            return None;
        }
        self.pods.missed();
        Some(&container.id)
    }

    /// Whether a pod's status has the id of this container.
    pub fn is_known(&self, id: &str) -> bool {
        matches!(self.pods.find(id, None), Some(Named::Fully(_)))
    }

    /// The pods, for who wants to wait for a change of them.
    pub fn pods(&self) -> &Arc<Pods> {
        &self.pods
    }

    fn of(&mut self, container: &Arc<Container>, now: Instant) -> Arc<Container> {
        let uid = container.pod.as_deref().map(|pod| &*pod.uid);
        match self.pods.find(&container.id, uid) {
            Some(Named::Fully(known)) => known,
            Some(Named::ByPod(known)) if !known.name.is_empty() => known,
            by_pod => {
                let Some(told) = self.runtimes.find(&container.id, uid, now) else {
                    return match by_pod {
                        Some(Named::ByPod(known) | Named::Fully(known)) => known,
                        None => Arc::clone(container),
                    };
                };
                let pod = match by_pod {
                    Some(Named::ByPod(known) | Named::Fully(known)) => known.pod.clone(),
                    None => told.pod.clone().or_else(|| container.pod.clone()),
                };
                if pod == told.pod {
                    return told;
                }
                Arc::new(Container { pod, ..(*told).clone() })
            }
        }
    }
}
