use serde_json::{Value, json};

use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn read(value: Value) -> KubePod {
    serde_json::from_value(value).expect("a pod")
}

fn with_status(status: Value) -> KubeContainer {
    let pod = read(json!({
        "spec": { "containers": [{ "name": "app", "image": "i" }] },
        "status": { "containerStatuses": [status] },
    }));
    pod.containers.first().expect("one").clone()
}

#[test]
fn a_whole_pod() {
    let pod = read(json!({
        "metadata": {
            "namespace": "shop", "name": "web-7d4b9c-x", "uid": "u", "deletionTimestamp": "2026-11-24T12:00:00Z",
            "labels": { "pod-template-hash": "7d4b9c" },
            "annotations": { "container.apparmor.security.beta.kubernetes.io/app": "localhost/web", "x": "y" },
            "ownerReferences": [
                { "kind": "Other", "name": "no-controller" },
                { "kind": "ReplicaSet", "name": "web-7d4b9c", "controller": true },
            ],
        },
        "spec": {
            "securityContext": { "appArmorProfile": { "type": "RuntimeDefault" } },
            "initContainers": [{ "name": "init", "image": "i:1" }],
            "containers": [
                { "name": "app", "image": "a:1", "securityContext": {
                    "privileged": true, "appArmorProfile": { "type": "Localhost", "localhostProfile": "web" } } },
                { "name": "late", "image": "l:1" },
            ],
            "ephemeralContainers": [{ "name": "debug", "image": "d:1" }],
        },
        "status": {
            "phase": "Running", "reason": "R", "message": "M",
            "initContainerStatuses": [{ "name": "init", "containerID": format!("cri-o://{A}"), "state": { "terminated": {} } }],
            "containerStatuses": [{ "name": "app", "containerID": format!("containerd://{B}"), "state": { "running": {} } }],
        },
    }));
    assert_eq!(
        *pod.pod,
        Pod {
            uid: "u".into(),
            namespace: "shop".into(),
            name: "web-7d4b9c-x".into(),
            workload_kind: "Deployment".into(),
            workload: "web".into(),
        }
    );
    assert_eq!(
        (&*pod.phase, pod.reason.as_deref(), pod.message.as_deref()),
        ("Running", Some("R"), Some("M"))
    );
    assert!(pod.deleting);
    assert_eq!(pod.app_armor, Some(AppArmorRef { kind: "RuntimeDefault".into(), localhost: None }));
    let [init, app, late, debug] = &*pod.containers else { panic!("{:?}", pod.containers) };
    assert_eq!((&*init.name, init.kind, init.id.as_deref()), ("init", ContainerKind::Init, Some(A)));
    assert_eq!((app.kind, app.id.as_deref(), app.privileged), (ContainerKind::Regular, Some(B), true));
    assert_eq!(app.annotation.as_deref(), Some("localhost/web"));
    assert_eq!(app.app_armor, Some(AppArmorRef { kind: "Localhost".into(), localhost: Some("web".into()) }));
    assert_eq!((&late.id, &late.state), (&None, &ContainerState::Unknown));
    assert_eq!((debug.kind, &*debug.image), (ContainerKind::Ephemeral, "d:1"));
}

#[test]
fn the_ids_that_a_status_tells() {
    let of = |id: &str| format!("containerd://{id}");
    for (name, status, want) in [
        ("none", json!({ "name": "app" }), (None, None)),
        ("of another", json!({ "name": "other", "containerID": of(A) }), (None, None)),
        ("empty", json!({ "name": "app", "containerID": "" }), (None, None)),
        ("running", json!({ "name": "app", "containerID": of(A) }), (Some(A), None)),
        (
            "restarted",
            json!({ "name": "app", "containerID": of(B), "lastState": { "terminated": { "containerID": of(A) } } }),
            (Some(B), Some(A)),
        ),
        (
            "ended, and told there alone",
            json!({ "name": "app", "state": { "terminated": { "containerID": of(A) } } }),
            (Some(A), None),
        ),
        ("short", json!({ "name": "app", "containerID": "docker://abc" }), (None, None)),
        ("upper case", json!({ "name": "app", "containerID": of(&A.to_uppercase()) }), (None, None)),
        ("no runtime", json!({ "name": "app", "containerID": A }), (None, None)),
    ] {
        let container = with_status(status);
        assert_eq!((container.id.as_deref(), container.previous_id.as_deref()), want, "{name}");
    }
}

#[test]
fn why_it_waits() {
    let message = "é".repeat(MESSAGE_LIMIT);
    let waiting = json!({ "waiting": { "reason": "CreateContainerError", "message": message } });
    let ContainerState::Waiting { reason, message } =
        with_status(json!({ "name": "app", "state": waiting })).state
    else {
        panic!("it waits");
    };
    assert_eq!((&*reason, message.len()), ("CreateContainerError", MESSAGE_LIMIT));
}

#[test]
fn a_static_pods_hash_comes_from_either_annotation_if_it_is_one() {
    let hash = "0123456789abcdef0123456789abcdef";
    for (key, value, want) in [
        ("kubernetes.io/config.mirror", hash, Some(hash)),
        ("kubernetes.io/config.hash", hash, Some(hash)),
        ("kubernetes.io/config.hash", "short", None),
        ("kubernetes.io/config.seen", hash, None),
    ] {
        let pod = read(json!({ "metadata": { "annotations": { key: value } } }));
        assert_eq!(pod.config_hash.as_deref(), want, "{key}");
    }
}

#[test]
fn nothing_need_be_there_and_nothing_is_kept_at_any_length() {
    assert_eq!(&*read(json!({})).pod.workload_kind, "Pod");
    read(json!({ "metadata": { "labels": null, "annotations": null }, "spec": { "containers": null } }));
    let long = "x".repeat(100_000);
    let containers: Vec<_> = (0..1_000).map(|_| json!({ "name": long, "image": long })).collect();
    let pod = read(json!({ "metadata": { "name": long }, "spec": { "containers": containers } }));
    assert_eq!((pod.pod.name.len(), pod.containers.len()), (NAME_LIMIT, CONTAINER_LIMIT));
    assert_eq!(
        pod.containers.first().map(|c| (c.name.len(), c.image.len())),
        Some((NAME_LIMIT, REFERENCE_LIMIT))
    );
}
