//! Changes by clients: create, replace, merge, remove.

use serde_json::Value;

use super::answer::Refusal;
use super::route::Route;
use super::store::{set_text, text};
use super::{Shared, admit};

/// Adds the object in `body`.
pub(super) fn create(shared: &Shared, route: &Route, body: &[u8]) -> Result<Value, Refusal> {
    let mut object = parse(body)?;
    if let Some(namespace) = &route.namespace
        && text(&object, "namespace").is_empty()
    {
        set_text(&mut object, "namespace", namespace);
    }
    admit::create(route, &object)?;
    let (namespace, name) = (text(&object, "namespace").to_owned(), text(&object, "name").to_owned());
    shared.change(|store| {
        if store.get(&route.resource, &namespace, &name).is_some() {
            let message = format!("{} \"{name}\" already exists", route.resource.plural);
            return Err(Refusal { reason: "AlreadyExists", ..Refusal::new(409, message) });
        }
        store.put(&route.resource, object);
        store
            .get(&route.resource, &namespace, &name)
            .map(|object| (*object).clone())
            .ok_or_else(|| missing(route))
    })
}

/// Replaces the object with the one in `body`, unless that is based on an old version.
pub(super) fn replace(shared: &Shared, route: &Route, body: &[u8]) -> Result<Value, Refusal> {
    let new = parse(body)?;
    change(shared, route, |_| new)
}

/// Merges `body` into the object, as RFC 7386 does.
pub(super) fn patch(shared: &Shared, route: &Route, body: &[u8], kind: &str) -> Result<Value, Refusal> {
    if !kind.contains("merge-patch") {
        return Err(Refusal::new(415, format!("the body of the request was in an unknown format: {kind:?}")));
    }
    let patch = parse(body)?;
    change(shared, route, |mut object| {
        merge(&mut object, &patch);
        object
    })
}

/// Removes the object.
pub(super) fn delete(shared: &Shared, route: &Route) -> Result<Value, Refusal> {
    let (namespace, name) = place(route);
    let object = shared.change(|store| store.delete(&route.resource, namespace, name));
    object.map(|object| (*object).clone()).ok_or_else(|| missing(route))
}

/// Reads the object.
pub(super) fn get(shared: &Shared, route: &Route) -> Result<Value, Refusal> {
    let (namespace, name) = place(route);
    let object = shared.store().get(&route.resource, namespace, name);
    object.map(|object| (*object).clone()).ok_or_else(|| missing(route))
}

fn change(shared: &Shared, route: &Route, change: impl FnOnce(Value) -> Value) -> Result<Value, Refusal> {
    let (namespace, name) = place(route);
    shared.change(|store| {
        let old = store.get(&route.resource, namespace, name).ok_or_else(|| missing(route))?;
        let new = change((*old).clone());
        let based_on = text(&new, "resourceVersion");
        if !based_on.is_empty() && based_on != text(&old, "resourceVersion") {
            return Err(Refusal::new(
                409,
                format!(
                    "Operation cannot be fulfilled on {} \"{name}\": the object has been modified",
                    route.resource.plural
                ),
            ));
        }
        admit::update(&route.resource, &old, &new)?;
        store.put(&route.resource, new);
        store
            .get(&route.resource, namespace, name)
            .map(|object| (*object).clone())
            .ok_or_else(|| missing(route))
    })
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::default());
    }
    let Some(fields) = into.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let object: Value = serde_json::from_slice(body).map_err(|error| Refusal::new(400, error.to_string()))?;
    if object.is_object() { Ok(object) } else { Err(Refusal::new(400, "the body is no object")) }
}

fn place(route: &Route) -> (&str, &str) {
    (route.namespace.as_deref().unwrap_or_default(), route.name.as_deref().unwrap_or_default())
}

fn missing(route: &Route) -> Refusal {
    let name = route.name.as_deref().unwrap_or_default();
    Refusal::new(404, format!("{} \"{name}\" not found", route.resource.plural))
}
