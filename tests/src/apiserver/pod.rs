//! Pods as the API server shows them, in as few words as a test wants to say.

#![expect(clippy::indexing_slicing, reason = "into objects that are written here, with all their keys")]

use serde_json::{Value, json};

/// A pod to be applied; what is not said has the value that most pods have.
#[derive(Clone, Debug)]
pub struct Pod(Value);

impl Pod {
    /// A running pod without containers, on the node `node-1`.
    pub fn new(namespace: &str, name: &str, uid: &str) -> Self {
        Self(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": namespace, "name": name, "uid": uid, "labels": {}, "annotations": {}, "ownerReferences": [],
                // As large and as useless to an agent as it is in a cluster.
                "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:status": { "f:phase": {} } } }],
            },
            "spec": { "nodeName": "node-1", "containers": [], "initContainers": [], "ephemeralContainers": [] },
            "status": {
                "phase": "Running",
                "containerStatuses": [], "initContainerStatuses": [], "ephemeralContainerStatuses": [],
            },
        }))
    }

    /// On another node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.0["spec"]["nodeName"] = node.into();
        self
    }

    /// Owned by this controller.
    #[must_use]
    pub fn owned_by(mut self, kind: &str, name: &str) -> Self {
        self.0["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "owner", "controller": true }]);
        self
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = value.into();
        self
    }

    /// With an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = value.into();
        self
    }

    /// With a container that runs, or that has no id yet (`id` empty).
    #[must_use]
    pub fn container(self, name: &str, id: &str) -> Self {
        self.with("containers", "containerStatuses", name, id)
    }

    /// With an init container.
    #[must_use]
    pub fn init_container(self, name: &str, id: &str) -> Self {
        self.with("initContainers", "initContainerStatuses", name, id)
    }

    /// With an ephemeral container.
    #[must_use]
    pub fn ephemeral_container(self, name: &str, id: &str) -> Self {
        self.with("ephemeralContainers", "ephemeralContainerStatuses", name, id)
    }

    /// The last added container of the regular ones ran as `id` before.
    #[must_use]
    pub fn restarted_from(mut self, id: &str) -> Self {
        if let Some(status) =
            self.0["status"]["containerStatuses"].as_array_mut().and_then(|all| all.last_mut())
        {
            status["lastState"] = json!({ "terminated": { "exitCode": 1, "containerID": containerd(id) } });
        }
        self
    }

    /// Anything else: `pod.with_field("/status/phase", "Pending")`. The field must be there.
    #[must_use]
    pub fn with_field(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        if let Some(field) = self.0.pointer_mut(pointer) {
            *field = value.into();
        }
        self
    }

    /// The object.
    pub fn json(self) -> Value {
        self.0
    }

    fn with(mut self, specs: &str, statuses: &str, name: &str, id: &str) -> Self {
        let image = format!("registry.example/{name}:1");
        if let Some(specs) = self.0["spec"][specs].as_array_mut() {
            specs.push(json!({ "name": name, "image": image }));
        }
        if let Some(statuses) = self.0["status"][statuses].as_array_mut() {
            let (id, state) = if id.is_empty() {
                (String::new(), json!({ "waiting": { "reason": "ContainerCreating" } }))
            } else {
                (containerd(id), json!({ "running": { "startedAt": "2026-11-24T12:00:00Z" } }))
            };
            statuses.push(json!({
                "name": name, "image": image, "containerID": id, "state": state, "lastState": {}, "ready": true,
            }));
        }
        self
    }
}

/// A pod that was applied, to be changed.
impl From<Value> for Pod {
    fn from(object: Value) -> Self {
        Self(object)
    }
}

fn containerd(id: &str) -> String {
    format!("containerd://{id}")
}
