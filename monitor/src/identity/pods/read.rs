//! A pod's JSON, and as much of it as is wanted. Everything may be missing; nothing is kept as long as it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::kube_pod::{AppArmorRef, ContainerKind, ContainerState, KubeContainer, KubePod, MESSAGE_LIMIT};
use super::workload::{self, Owner};
use crate::identity::Pod;

/// The longest that Kubernetes lets a name be.
const NAME_LIMIT: usize = 253;
/// An image's reference, a profile's name.
const REFERENCE_LIMIT: usize = 1024;
/// Containers of one pod; what comes after is not looked at.
const CONTAINER_LIMIT: usize = 256;

/// The annotations of AppArmor profiles before there was a field for them, up to the container's name.
const PROFILE_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The annotations that tell a static pod's hash: of the mirror that the API server has, and of the pod that
/// the kubelet has.
const HASH_ANNOTATIONS: [&str; 2] = ["kubernetes.io/config.mirror", "kubernetes.io/config.hash"];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawPod {
    metadata: RawMetadata,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMetadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<RawOwner>>,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawOwner {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    security_context: Option<RawSecurity>,
    init_containers: Option<Vec<RawContainer>>,
    containers: Option<Vec<RawContainer>>,
    ephemeral_containers: Option<Vec<RawContainer>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSecurity {
    privileged: Option<bool>,
    app_armor_profile: Option<RawProfile>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawProfile {
    #[serde(rename = "type")]
    kind: String,
    localhost_profile: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawContainer {
    name: String,
    image: String,
    security_context: Option<RawSecurity>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawStatus {
    phase: String,
    reason: Option<String>,
    message: Option<String>,
    init_container_statuses: Option<Vec<RawContainerStatus>>,
    container_statuses: Option<Vec<RawContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<RawContainerStatus>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    state: Option<RawState>,
    last_state: Option<RawState>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawState {
    waiting: Option<RawWaiting>,
    running: Option<RawRunning>,
    terminated: Option<RawTerminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawWaiting {
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawRunning {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTerminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

impl From<RawPod> for KubePod {
    fn from(raw: RawPod) -> Self {
        let RawPod { metadata, spec, status } = raw;
        let annotations = metadata.annotations.unwrap_or_default();
        let labels = metadata.labels.unwrap_or_default();
        let owners = metadata.owner_references.unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.controller == Some(true));
        let owner = owner.map(|owner| Owner { kind: &owner.kind, name: &owner.name });
        let (kind, workload) = workload::of(&metadata.name, owner, |key| labels.get(key).map(String::as_str));
        let pod = Arc::new(Pod {
            uid: cut(&metadata.uid, NAME_LIMIT),
            namespace: cut(&metadata.namespace, NAME_LIMIT),
            name: cut(&metadata.name, NAME_LIMIT),
            workload_kind: cut(kind, NAME_LIMIT),
            workload: cut(workload, NAME_LIMIT),
        });
        let lists = [
            (ContainerKind::Init, spec.init_containers, status.init_container_statuses),
            (ContainerKind::Regular, spec.containers, status.container_statuses),
            (ContainerKind::Ephemeral, spec.ephemeral_containers, status.ephemeral_container_statuses),
        ];
        let mut containers = Vec::new();
        for (kind, specs, statuses) in lists {
            let mut statuses = statuses.unwrap_or_default();
            for spec in specs.unwrap_or_default() {
                let at = statuses.iter().position(|status| status.name == spec.name);
                let status = at.map(|at| statuses.swap_remove(at)).unwrap_or_default();
                let annotation = annotations.get(&format!("{PROFILE_ANNOTATION}{}", spec.name));
                containers.push(container(kind, &spec, &status, annotation));
            }
        }
        containers.truncate(CONTAINER_LIMIT);
        Self {
            pod,
            phase: cut(&status.phase, NAME_LIMIT),
            reason: status.reason.map(|reason| cut(&reason, NAME_LIMIT)),
            message: status.message.map(|message| cut(&message, MESSAGE_LIMIT)),
            app_armor: spec.security_context.as_ref().and_then(profile),
            deleting: metadata.deletion_timestamp.is_some(),
            config_hash: HASH_ANNOTATIONS
                .iter()
                .filter_map(|key| annotations.get(*key))
                .find(|hash| is_hex(hash, 32))
                .map(|hash| hash.as_str().into()),
            version: cut(&metadata.resource_version, NAME_LIMIT),
            containers: containers.into(),
        }
    }
}

fn container(
    kind: ContainerKind,
    spec: &RawContainer,
    status: &RawContainerStatus,
    annotation: Option<&String>,
) -> KubeContainer {
    let security = spec.security_context.as_ref();
    let terminated = |state: &Option<RawState>| {
        let terminated = state.as_ref().and_then(|state| state.terminated.as_ref());
        terminated.and_then(|terminated| id(terminated.container_id.as_deref()))
    };
    KubeContainer {
        name: cut(&spec.name, NAME_LIMIT),
        image: cut(&spec.image, REFERENCE_LIMIT),
        kind,
        privileged: security.and_then(|security| security.privileged).unwrap_or(false),
        app_armor: security.and_then(profile),
        annotation: annotation.map(|annotation| cut(annotation, REFERENCE_LIMIT)),
        id: id(status.container_id.as_deref()).or_else(|| terminated(&status.state)),
        previous_id: terminated(&status.last_state),
        state: state(status.state.as_ref()),
    }
}

fn state(raw: Option<&RawState>) -> ContainerState {
    match raw {
        Some(RawState { running: Some(_), .. }) => ContainerState::Running,
        Some(RawState { terminated: Some(_), .. }) => ContainerState::Terminated,
        Some(RawState { waiting: Some(waiting), .. }) => ContainerState::Waiting {
            reason: cut(waiting.reason.as_deref().unwrap_or_default(), NAME_LIMIT),
            message: cut(waiting.message.as_deref().unwrap_or_default(), MESSAGE_LIMIT),
        },
        _ => ContainerState::Unknown,
    }
}

fn profile(security: &RawSecurity) -> Option<AppArmorRef> {
    let profile = security.app_armor_profile.as_ref()?;
    Some(AppArmorRef {
        kind: cut(&profile.kind, NAME_LIMIT),
        localhost: profile.localhost_profile.as_ref().map(|name| cut(name, REFERENCE_LIMIT)),
    })
}

/// The digits of `containerd://0123...`, as cgroup paths have them.
fn id(reference: Option<&str>) -> Option<Box<str>> {
    let (_, digits) = reference?.rsplit_once("://")?;
    is_hex(digits, 64).then(|| digits.into())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `text`, or as much of it as fits, whole characters.
pub(super) fn cut(text: &str, limit: usize) -> Box<str> {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text).into()
}

#[cfg(test)]
mod tests;
