//! Whose process it was, as keys of an event.

use serde::Serialize;
use serde::ser::SerializeMap;

use super::Map;
use crate::identity::{Container, How, Identity, Pod, Unknown};

/// What is not known is left out.
#[derive(Serialize)]
struct ContainerKeys<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    image: &'a str,
}

#[derive(Serialize)]
struct PodKeys<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    workload: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    workload_kind: &'a str,
}

/// Writes what is known of both sides.
pub(super) fn write<M: SerializeMap>(
    map: &mut Map<'_, M>,
    subject: &Identity,
    peer: Option<&Identity>,
) -> Result<(), M::Error> {
    let Identity { container, how, own } = subject;
    write_container(map, ["container", "pod"], container.as_deref())?;
    if let Some(peer) = peer {
        write_container(map, ["peer_container", "peer_pod"], peer.container.as_deref())?;
    }
    // A log's record was never looked up: that is not worth a key on every line.
    if *how != How::Unknown(Unknown::NotLookedFor) {
        map.entry("identified_by", Some(how.as_str()))?;
    }
    if let How::Unknown(why) = how
        && *why != Unknown::NotLookedFor
    {
        map.entry("unidentified", Some(why.as_str()))?;
    }
    map.entry("own", own.then_some(true))
}

fn write_container<M: SerializeMap>(
    map: &mut Map<'_, M>,
    [container_key, pod_key]: [&str; 2],
    container: Option<&Container>,
) -> Result<(), M::Error> {
    let Some(Container { id, name, image, pod }) = container else { return Ok(()) };
    map.entry(container_key, Some(ContainerKeys { id, name, image }))?;
    let pod = pod.as_deref().map(|Pod { uid, namespace, name, workload_kind, workload }| PodKeys {
        uid,
        namespace,
        name,
        workload,
        workload_kind,
    });
    map.entry(pod_key, pod)
}
