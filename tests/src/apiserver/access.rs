//! Who may do what: everything, but for what a test has forbidden. Requests are held against it, and so is the
//! question about it (`SelfSubjectAccessReview`).

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::answer::Refusal;
use super::write::parse;
use super::{Resource, Verb};

/// What is forbidden.
#[derive(Default)]
pub(super) struct Access(Mutex<Vec<(Verb, Resource)>>);

impl Access {
    pub(super) fn forbid(&self, verb: Verb, resource: Resource) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((verb, resource));
    }

    pub(super) fn permit_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn forbids(&self, verb: &str, group: &str, plural: &str) -> bool {
        let forbidden = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forbidden.iter().any(|(other, resource)| {
            other.as_str() == verb && resource.group == group && resource.plural == plural
        })
    }

    /// Fails as the real server does for what is forbidden.
    pub(super) fn check(&self, verb: Verb, resource: &Resource) -> Result<(), Refusal> {
        match self.forbids(verb.as_str(), &resource.group, &resource.plural) {
            true => Err(Refusal::scripted(403, None, Some(verb), Some(resource))),
            false => Ok(()),
        }
    }

    /// The answer to a `SelfSubjectAccessReview`.
    pub(super) fn review(&self, body: &[u8]) -> Result<Value, Refusal> {
        let mut review = parse(body)?;
        let attributes = review.pointer("/spec/resourceAttributes").cloned();
        let attributes = attributes.ok_or_else(|| {
            Refusal::new(
                422,
                "spec.resourceAttributes: exactly one of nonResourceAttributes or it must be set",
            )
        })?;
        let word = |key: &str| attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        let plural = match word("subresource") {
            "" => word("resource").to_owned(),
            subresource => format!("{}/{subresource}", word("resource")),
        };
        let allowed = !self.forbids(word("verb"), word("group"), &plural);
        if let Some(review) = review.as_object_mut() {
            review.insert("status".to_owned(), json!({ "allowed": allowed }));
        }
        Ok(review)
    }
}
