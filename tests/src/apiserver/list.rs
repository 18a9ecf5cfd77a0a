//! LIST, and the selectors that it shares with WATCH.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Shared;
use super::answer::{Refusal, too_old};
use super::route::Route;
use super::store::{list_of, text};

/// What of a resource is asked for.
pub(super) struct Selector {
    namespace: Option<String>,
    /// Each: a field's path, whether it must be equal, the value.
    fields: Vec<(Vec<String>, bool, String)>,
}

impl Selector {
    /// Of `fieldSelector=spec.nodeName=a,metadata.name!=b`.
    pub(super) fn parse(route: &Route, query: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut fields = Vec::new();
        let text = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (path, equal, value) = match (term.split_once("!="), term.split_once('=')) {
                (Some((path, value)), _) => (path, false, value),
                (None, Some((path, value))) => (path, true, value.trim_start_matches('=')),
                (None, None) => {
                    return Err(Refusal::new(
                        400,
                        format!("invalid selector: '{term}'; can't understand it"),
                    ));
                }
            };
            // The real server knows a few fields a resource, and refuses all others.
            if !matches!(path, "spec.nodeName" | "status.phase" | "metadata.name" | "metadata.namespace") {
                return Err(Refusal::new(400, format!("field label not supported: {path}")));
            }
            fields.push((path.split('.').map(str::to_owned).collect(), equal, value.to_owned()));
        }
        Ok(Self { namespace: route.namespace.clone(), fields })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let of = |path: &[String]| {
            path.iter().try_fold(object, |at, key| at.get(key)).and_then(Value::as_str).unwrap_or_default()
        };
        self.namespace.as_deref().is_none_or(|namespace| text(object, "namespace") == namespace)
            && self.fields.iter().all(|(path, equal, value)| (of(path) == value) == *equal)
    }
}

/// Answers a LIST.
///
/// From the cache (`resourceVersion=0`) it is whole, whatever `limit` says: so does the real server. Otherwise
/// it comes in pieces, each of which is refused with 410 when the store was compacted since the first.
pub(super) fn list(
    shared: &Shared,
    route: &Route,
    query: &BTreeMap<String, String>,
) -> Result<Value, Refusal> {
    let selector = Selector::parse(route, query)?;
    let store = shared.store();
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<usize>().ok());
    let cached = query.get("resourceVersion").is_some_and(|version| version == "0");
    let (version, start) = match query.get("continue").and_then(|token| token.split_once('-')) {
        Some((version, start)) => {
            let version: u64 = version.parse().unwrap_or_default();
            if store.since(version).is_none() {
                return Err(Refusal::new(410, too_old()));
            }
            (version, start.parse().unwrap_or_default())
        }
        None => (store.version(), 0),
    };
    let limit = number("limit").filter(|limit| *limit > 0 && !cached).unwrap_or(usize::MAX);
    let all: Vec<Arc<Value>> =
        store.all(&route.resource).into_iter().filter(|object| selector.matches(object)).collect();
    let piece = all.get(start..).unwrap_or_default();
    let next = (piece.len() > limit).then(|| format!("{version}-{}", start + limit));
    let piece = piece.get(..limit.min(piece.len())).unwrap_or_default();
    Ok(list_of(&route.resource, version, piece, next))
}
