//! WATCH: one JSON object a line, for as long as the client asked for.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep};

use super::Shared;
use super::answer::{Body, Refusal, text, too_old};
use super::list::Selector;
use super::route::Route;
use super::store::Change;

/// When the client does not say how long, the real server takes this or up to twice as much.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1_800);

type Lines = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// One client that watches.
struct Watcher {
    shared: Arc<Shared>,
    selector: Selector,
    route: Route,
    /// All changes up to here have been told.
    version: u64,
    lines: Lines,
}

/// Answers a WATCH.
pub(super) fn watch(
    shared: &Arc<Shared>,
    route: Route,
    query: &BTreeMap<String, String>,
) -> Result<Response<Body>, Refusal> {
    let selector = Selector::parse(&route, query)?;
    let from = query.get("resourceVersion").map(String::as_str).unwrap_or_default();
    let store = shared.store();
    // Without a version, or with 0, it begins with all that there is.
    let from_now = matches!(from, "" | "0");
    let version = if from_now {
        store.version()
    } else {
        from.parse()
            .map_err(|_| Refusal::new(400, format!("Invalid value: {from:?}: not a resource version")))?
    };
    if store.since(version).is_none() && shared.gone_as_status.load(Ordering::Relaxed) {
        return Err(Refusal::new(410, too_old()));
    }
    let start = if from_now { store.all(&route.resource) } else { Vec::new() };
    drop(store);
    let seconds = query.get("timeoutSeconds").and_then(|text| text.parse().ok());
    let timeout = seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let bookmarks = query.get("allowWatchBookmarks").is_some_and(|wanted| wanted == "true");
    let (lines, mut received) = mpsc::channel(64);
    let watcher = Watcher { shared: Arc::clone(shared), selector, route, version, lines };
    tokio::spawn(async move {
        // An error is a client that has gone.
        let _ = watcher.run(start, timeout, bookmarks).await;
    });
    let body = StreamBody::new(stream::poll_fn(move |context| received.poll_recv(context)));
    let mut response = text(200, Bytes::new());
    *response.body_mut() = body.boxed();
    Ok(response)
}

/// Why a watch ends before its time.
struct ClientGone;

impl Watcher {
    async fn run(
        mut self,
        start: Vec<Arc<Value>>,
        timeout: Duration,
        bookmarks: bool,
    ) -> Result<(), ClientGone> {
        let shared = Arc::clone(&self.shared);
        let mut changed = shared.version.subscribe();
        let mut cut = shared.cut.subscribe();
        let every = *shared.bookmark_every.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bookmark = interval_at(Instant::now() + every, every);
        let mut end = pin!(sleep(timeout));
        for object in start.iter().filter(|object| self.selector.matches(object)) {
            self.tell("ADDED", object).await?;
        }
        loop {
            // Marked as seen before the look, so that no change falls in between.
            changed.borrow_and_update();
            let Some(changes) = shared.store().since(self.version) else {
                return self.tell("ERROR", &Refusal::new(410, too_old()).to_json()).await;
            };
            for change in changes {
                self.version = change.version;
                self.tell_change(&change).await?;
            }
            let lines = self.lines.clone();
            tokio::select! {
                _ = changed.changed() => {}
                _ = cut.changed() => {
                    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
                    return self.lines.send(Err(broken)).await.map_err(|_| ClientGone);
                }
                _ = bookmark.tick(), if bookmarks => self.bookmark().await?,
                () = &mut end => return if bookmarks { self.bookmark().await } else { Ok(()) },
                () = lines.closed() => return Err(ClientGone),
            }
        }
    }

    /// An object that a change moves into the selection was added for this client, and one that it moves
    /// out was deleted.
    async fn tell_change(&self, change: &Change) -> Result<(), ClientGone> {
        if change.resource != self.route.resource {
            return Ok(());
        }
        let before = change.before.as_ref().is_some_and(|before| self.selector.matches(before));
        let after = !change.deleted && self.selector.matches(&change.object);
        match (before, after) {
            (false, false) => Ok(()),
            (false, true) => self.tell("ADDED", &change.object).await,
            (true, true) => self.tell("MODIFIED", &change.object).await,
            (true, false) => self.tell("DELETED", &change.object).await,
        }
    }

    async fn bookmark(&self) -> Result<(), ClientGone> {
        let resource = &self.route.resource;
        let object = json!({
            "kind": resource.kind(), "apiVersion": resource.api_version(),
            "metadata": { "resourceVersion": self.version.to_string(), "creationTimestamp": null },
        });
        self.tell("BOOKMARK", &object).await
    }

    async fn tell(&self, kind: &str, object: &Value) -> Result<(), ClientGone> {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.lines.send(Ok(Frame::data(line.into()))).await.map_err(|_| ClientGone)
    }
}
