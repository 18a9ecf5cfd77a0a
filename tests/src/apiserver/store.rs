//! The objects, and what became of them: enough history that a watch can begin in the past.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Resource;

/// Changes that a watch can still ask for.
const HISTORY: usize = 65_536;

/// A change of one object.
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: Resource,
    /// None when it was created.
    pub(super) before: Option<Arc<Value>>,
    /// As it is now, or was last when it is gone.
    pub(super) object: Arc<Value>,
    pub(super) deleted: bool,
}

type Key = (Resource, String, String);

/// All objects of all resources.
#[derive(Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Arc<Change>>,
    /// The version before the first change that is still known.
    forgotten: u64,
    uids: u64,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Adds or replaces; fills in what the server fills in. Answers the new version.
    pub(super) fn put(&mut self, resource: &Resource, mut object: Value) -> u64 {
        self.version += 1;
        set(&mut object, "apiVersion", resource.api_version());
        set(&mut object, "kind", resource.kind());
        let key = (resource.clone(), text(&object, "namespace").to_owned(), text(&object, "name").to_owned());
        let before = self.objects.get(&key).cloned();
        if text(&object, "uid").is_empty() {
            let known = before.as_deref().map(|before| text(before, "uid").to_owned());
            set_text(&mut object, "uid", &known.unwrap_or_else(|| self.new_uid()));
        }
        set_text(&mut object, "resourceVersion", &self.version.to_string());
        let object = Arc::new(object);
        self.objects.insert(key, Arc::clone(&object));
        self.remember(Change {
            version: self.version,
            resource: resource.clone(),
            before,
            object,
            deleted: false,
        });
        self.version
    }

    /// Removes; answers the object as it was.
    pub(super) fn delete(&mut self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let before = self.objects.remove(&(resource.clone(), namespace.to_owned(), name.to_owned()))?;
        self.version += 1;
        let mut last = (*before).clone();
        set_text(&mut last, "resourceVersion", &self.version.to_string());
        let object = Arc::new(last);
        let before = Some(before);
        let resource = resource.clone();
        let version = self.version;
        self.remember(Change { version, resource, before, object: Arc::clone(&object), deleted: true });
        Some(object)
    }

    pub(super) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&(resource.clone(), namespace.to_owned(), name.to_owned())).cloned()
    }

    /// In the order of namespace and name.
    pub(super) fn all(&self, resource: &Resource) -> Vec<Arc<Value>> {
        self.objects
            .iter()
            .filter(|((of, ..), _)| of == resource)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// The changes after `version`; none when they are not all known any more.
    pub(super) fn since(&self, version: u64) -> Option<Vec<Arc<Change>>> {
        if version < self.forgotten {
            return None;
        }
        Some(self.history.iter().filter(|change| change.version > version).cloned().collect())
    }

    /// Forgets all history.
    pub(super) fn compact(&mut self) {
        self.history.clear();
        // Also a version that nothing has changed since is too old for a compacted store.
        self.version += 1;
        self.forgotten = self.version;
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(Arc::new(change));
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.version;
        }
    }

    fn new_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }
}

/// A string of an object's metadata, empty when absent.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// Sets a string of an object's metadata.
pub(super) fn set_text(object: &mut Value, key: &str, value: &str) {
    let Some(fields) = object.as_object_mut() else { return };
    set(fields.entry("metadata").or_insert_with(|| json!({})), key, value);
}

/// Sets a field of what is an object; what is none is left as it is.
fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value.into());
    }
}

/// A list of a resource at a version.
pub(super) fn list_of(
    resource: &Resource,
    version: u64,
    items: &[Arc<Value>],
    next: Option<String>,
) -> Value {
    // Items of a list have neither kind nor version of their own.
    let items: Vec<Value> = items
        .iter()
        .map(|item| {
            let mut item = (**item).clone();
            if let Some(fields) = item.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            item
        })
        .collect();
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let Some(next) = next {
        set(&mut metadata, "continue", next);
    }
    json!({
        "kind": resource.kind() + "List", "apiVersion": resource.api_version(), "metadata": metadata, "items": items,
    })
}
