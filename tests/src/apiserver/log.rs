//! What was asked: the requests in their order, for tests to hold a client against.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Resource, Verb};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, written down when its head and body had been read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query's parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// What was to be done; none when the path or the method make no sense.
    pub verb: Option<Verb>,
    /// To what.
    pub resource: Option<Resource>,
    /// In which namespace.
    pub namespace: Option<String>,
    /// To which object.
    pub name: Option<String>,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it was read, by the server's clock.
    pub at: tokio::time::Instant,
    /// The status that it was answered with; 0 until then, and when the connection was closed instead.
    pub status: u16,
}

impl Request {
    /// Whether it has this verb for this resource.
    pub fn is(&self, verb: Verb, resource: &Resource) -> bool {
        self.verb == Some(verb) && self.resource.as_ref() == Some(resource)
    }

    /// A parameter of the query, empty when absent.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// All requests.
#[derive(Default)]
pub(super) struct Log {
    requests: Mutex<Vec<Request>>,
    changed: Condvar,
    notify: Notify,
}

impl Log {
    /// Its number is for [`Self::answered`].
    pub(super) fn add(&self, request: Request) -> usize {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
        self.changed.notify_all();
        self.notify.notify_waiters();
        requests.len() - 1
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = requests.get_mut(number) {
            request.status = status;
        }
        self.changed.notify_all();
        self.notify.notify_waiters();
    }

    pub(super) fn all(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn wait(&self, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, _) = self
            .changed
            .wait_timeout_while(requests, PATIENCE, |requests| !enough(requests))
            .unwrap_or_else(PoisonError::into_inner);
        requests.clone()
    }

    pub(super) async fn until(&self, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        loop {
            let changed = self.notify.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that nothing is missed in between.
            changed.as_mut().enable();
            let requests = self.all();
            if enough(&requests) {
                return requests;
            }
            changed.await;
        }
    }
}
