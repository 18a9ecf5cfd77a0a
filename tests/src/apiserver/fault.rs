//! What goes wrong, when it is told to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::{Resource, Verb};

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is refused with this status, and told to come back after so many seconds.
    Refuse {
        /// 401, 403, 404, 409, 410, 429, 500, 503...
        status: u16,
        /// `Retry-After`.
        retry_after: Option<u32>,
    },
    /// It is answered, after a while.
    Delay(Duration),
    /// It is read and never answered.
    Hang,
    /// The connection is closed instead of an answer.
    Disconnect,
    /// It is answered with 200 and this instead of an object.
    Garbage(String),
}

/// A fault, and the requests that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    verb: Option<Verb>,
    resource: Option<Resource>,
    left: Option<u32>,
    action: Action,
}

impl Fault {
    /// For every request, for ever.
    pub const fn every(action: Action) -> Self {
        Self { verb: None, resource: None, left: None, action }
    }

    /// For requests with this verb for this resource, for ever.
    pub const fn on(verb: Verb, resource: Resource, action: Action) -> Self {
        Self { verb: Some(verb), resource: Some(resource), left: None, action }
    }

    /// For so many of them only.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    /// From `{"verb": "list", "plural": "pods", "times": 2, "status": 429, "retryAfter": 1}`, or instead of
    /// the status `"delayMillis"`, `"hang": true`, `"disconnect": true`, `"garbage": "text"`.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        const VERBS: [Verb; 7] =
            [Verb::Get, Verb::List, Verb::Watch, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete];
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let word = |key: &str| value.get(key).and_then(Value::as_str);
        let small = |number: u64| u32::try_from(number).ok();
        let action = if let Some(status) = number("status") {
            Action::Refuse {
                status: u16::try_from(status).ok()?,
                retry_after: number("retryAfter").and_then(small),
            }
        } else if let Some(delay) = number("delayMillis") {
            Action::Delay(Duration::from_millis(delay))
        } else if let Some(text) = word("garbage") {
            Action::Garbage(text.to_owned())
        } else if value.get("hang").is_some() {
            Action::Hang
        } else {
            value.get("disconnect")?;
            Action::Disconnect
        };
        let verb = word("verb").map(|word| VERBS.into_iter().find(|verb| verb.as_str() == word));
        let known = [Resource::PODS, Resource::NODES, Resource::EVENTS, Resource::KUBELET_PODS];
        let group = word("group");
        let resource = word("plural").map(|plural| {
            known
                .into_iter()
                .find(|known| known.plural == plural && group.is_none_or(|group| known.group == group))
        });
        // A word that is not known must not become a fault for everything.
        Some(Self {
            verb: verb.map_or(Some(None), |found| found.map(Some))?,
            resource: resource.map_or(Some(None), |found| found.map(Some))?,
            left: number("times").and_then(small),
            action,
        })
    }

    fn is_for(&self, verb: Option<Verb>, resource: Option<&Resource>) -> bool {
        self.left != Some(0)
            && self.verb.is_none_or(|wanted| Some(wanted) == verb)
            && self.resource.as_ref().is_none_or(|wanted| Some(wanted) == resource)
    }
}

/// The faults that are to happen.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What happens to this request.
    pub(super) fn take(&self, verb: Option<Verb>, resource: Option<&Resource>) -> Option<Action> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults.iter_mut().find(|fault| fault.is_for(verb, resource))?;
        fault.left = fault.left.map(|left| left - 1);
        Some(fault.action.clone())
    }
}
