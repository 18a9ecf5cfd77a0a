//! What may be stored: the place for a resource's own validation.
//!
//! A resource with rules gets a module beside this one, and a line in each of the two functions at the end.

use serde_json::Value;

use super::Resource;
use super::answer::Refusal;
use super::events;
use super::route::Route;
use super::store::text;

/// Whether `object` may be created.
pub(super) fn create(route: &Route, object: &Value) -> Result<(), Refusal> {
    let namespace = route.namespace.as_deref().unwrap_or_default();
    if text(object, "namespace") != namespace {
        return Err(Refusal::new(
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if text(object, "name").is_empty() {
        return Err(Refusal::new(422, "name or generateName is required"));
    }
    of_resource_created(&route.resource, object)
}

/// Whether `new` may take the place of `old`.
pub(super) fn update(resource: &Resource, old: &Value, new: &Value) -> Result<(), Refusal> {
    for key in ["name", "namespace", "uid"] {
        if text(old, key) != text(new, key) {
            return Err(Refusal::new(422, format!("metadata.{key}: field is immutable")));
        }
    }
    of_resource_updated(resource, old, new)
}

fn of_resource_created(resource: &Resource, object: &Value) -> Result<(), Refusal> {
    if *resource == Resource::EVENTS { events::create(object) } else { Ok(()) }
}

fn of_resource_updated(resource: &Resource, old: &Value, new: &Value) -> Result<(), Refusal> {
    if *resource == Resource::EVENTS { events::update(old, new) } else { Ok(()) }
}
