//! A pod as the agent keeps it: what names its containers, and what it asked of AppArmor. A few hundred bytes
//! instead of the many thousand that the API server sends.

use std::sync::Arc;

use serde::Deserialize;

use super::read::RawPod;
use crate::identity::Pod;

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawPod")]
pub struct KubePod {
    /// Who it is.
    pub pod: Arc<Pod>,
    /// `status.phase`.
    pub phase: Box<str>,
    /// `status.reason`, such as `AppArmor` of a pod that was refused.
    pub reason: Option<Box<str>>,
    /// `status.message`, cut to 1 KiB.
    pub message: Option<Box<str>>,
    /// `spec.securityContext.appArmorProfile`.
    pub app_armor: Option<AppArmorRef>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What names it in cgroup paths instead of its UID when it is a static pod: the kubelet's hash of its
    /// file, 32 digits.
    pub config_hash: Option<Box<str>>,
    /// `metadata.resourceVersion`: where a watch goes on from. Empty from a kubelet.
    pub version: Box<str>,
    /// Its containers, in the order of its spec: init, regular, ephemeral.
    pub containers: Box<[KubeContainer]>,
}

/// A container of a pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeContainer {
    /// Its name in the spec.
    pub name: Box<str>,
    /// Its image, as the spec says it.
    pub image: Box<str>,
    /// Which list of the spec it is in.
    pub kind: ContainerKind,
    /// `securityContext.privileged`.
    pub privileged: bool,
    /// `securityContext.appArmorProfile`.
    pub app_armor: Option<AppArmorRef>,
    /// The pod's annotation `container.apparmor.security.beta.kubernetes.io/<name>`, as it is.
    pub annotation: Option<Box<str>>,
    /// The runtime's id of the container that is, or was last; none before there is one.
    pub id: Option<Box<str>>,
    /// The id of the one before it (`lastState.terminated`).
    pub previous_id: Option<Box<str>>,
    /// How it is.
    pub state: ContainerState,
}

/// Which list of a pod's spec a container is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// `initContainers`.
    Init,
    /// `containers`.
    #[default]
    Regular,
    /// `ephemeralContainers`.
    Ephemeral,
}

/// How a container is, by its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// It has no status yet.
    #[default]
    Unknown,
    /// It waits for something.
    Waiting {
        /// `CreateContainerError`, `CrashLoopBackOff`.
        reason: Box<str>,
        /// In the words of kubelet and runtime, cut to 1 KiB.
        message: Box<str>,
    },
    /// It runs.
    Running,
    /// It has ended.
    Terminated,
}

/// An `appArmorProfile` as it was written, valid or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppArmorRef {
    /// `type`.
    pub kind: Box<str>,
    /// `localhostProfile`.
    pub localhost: Option<Box<str>>,
}

/// A message's limit in bytes.
pub(super) const MESSAGE_LIMIT: usize = 1024;

impl KubePod {
    /// The ids of its containers, present and previous.
    pub fn ids(&self) -> impl Iterator<Item = (&str, &KubeContainer)> {
        self.containers.iter().flat_map(|container| {
            let ids = [&container.id, &container.previous_id];
            ids.into_iter().flatten().map(move |id| (&**id, container))
        })
    }
}
