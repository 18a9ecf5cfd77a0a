//! The pods of this node from the API server: one LIST, then one WATCH for as long as it holds.
//!
//! `kube`'s own watcher asks for a new watch every five minutes at the latest. A thousand agents would be a
//! thousand requests every five minutes for nothing, so the requests are made here.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::{Backoff, jitter};
use super::kube_pod::KubePod;
use super::lines::Lines;
use super::report::Report;
use super::request::{Failure, Status, broken, get, get_json};
use super::{Pods, Source};

/// Agents that start together do not ask together.
const START_JITTER: Duration = Duration::from_secs(2);
/// How long a watch is asked for, and by how much more, so that they do not end together either.
const WATCH_TIME: Duration = Duration::from_secs(2 * 3_600);
const WATCH_JITTER: Duration = Duration::from_secs(3_600);
/// A server that sends bookmarks sends one a minute; without any for so long, the connection is dead.
const QUIET_LIMIT: Duration = Duration::from_secs(300);
/// The same before the first bookmark: a server that sends none is asked again four times an hour.
const QUIET_LIMIT_WITHOUT_BOOKMARKS: Duration = Duration::from_secs(900);
/// A watch that held for so long was a good one.
const HELD: Duration = Duration::from_secs(10);

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// With a list from the server's cache, not older than this version, if there is one.
    List(Option<Box<str>>),
    /// With a list that is as new as can be: the cache could not give the one before.
    ListLatest,
    /// With a watch from this version on.
    Watch(Box<str>),
}

impl Next {
    const fn verb(&self) -> &'static str {
        match self {
            Self::List(_) | Self::ListLatest => "list",
            Self::Watch(_) => "watch",
        }
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Metadata,
    items: Option<Vec<KubePod>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: Box<str>,
}

/// What a line of a watch is; then what it holds.
#[derive(Deserialize)]
struct Kind {
    r#type: Box<str>,
}

#[derive(Deserialize)]
struct Of<T> {
    object: T,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

fn pods_of(node: &str) -> String {
    format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
}

/// How many pods `node`, a valid name, has.
pub(super) async fn count(client: &kube::Client, node: &str) -> Result<usize, Failure> {
    let list: List = get_json(client, &format!("{}&resourceVersion=0", pods_of(node))).await?;
    Ok(list.items.unwrap_or_default().len())
}

/// The watch of one node's pods.
pub(super) struct Watch {
    client: kube::Client,
    /// `/api/v1/pods?fieldSelector=..`
    path: String,
    pods: Arc<Pods>,
    report: Report,
    bookmarks: bool,
}

impl Watch {
    /// Of the pods on `node`, a valid name.
    pub(super) fn new(client: kube::Client, node: &str, pods: Arc<Pods>) -> Self {
        let path = pods_of(node);
        let report = Report::new(Source::Api, Arc::clone(&pods));
        Self { client, path, pods, report, bookmarks: false }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        sleep(jitter(START_JITTER)).await;
        let mut backoff = Backoff::new();
        let mut next = Next::List(None);
        loop {
            let began = Instant::now();
            let verb = next.verb();
            let failure = match next {
                Next::Watch(version) => {
                    let (version, failure) = self.watch(version).await;
                    next = Next::Watch(version);
                    failure
                }
                list => match self.list(&list).await {
                    Ok(version) => {
                        next = Next::Watch(version);
                        continue;
                    }
                    Err(failure) => {
                        next = list;
                        Some(failure)
                    }
                },
            };
            if verb == "watch" && began.elapsed() >= HELD {
                backoff.reset();
            }
            if let Some(failure) = &failure {
                next = after(failure, next);
                self.report.failed(verb, failure);
            }
            // Also a watch that only ended: one that ends at once, again and again, must not be a loop.
            sleep(backoff.after_failure(failure.as_ref().and_then(Failure::retry_after))).await;
        }
    }

    /// Takes over the pods that there are; answers their version.
    async fn list(&mut self, from: &Next) -> Result<Box<str>, Failure> {
        let version = match from {
            Next::List(Some(version)) => format!("&resourceVersion={version}"),
            Next::ListLatest => String::new(),
            _ => "&resourceVersion=0".to_owned(),
        };
        let list: List = get_json(&self.client, &format!("{}{version}", self.path)).await?;
        self.pods.replace(list.items.unwrap_or_default());
        self.report.works();
        Ok(list.metadata.resource_version)
    }

    /// Follows from `version`; answers up to where it has come, and why it goes no further, unless the server
    /// ended it in the regular way.
    async fn watch(&mut self, mut version: Box<str>) -> (Box<str>, Option<Failure>) {
        let seconds = (WATCH_TIME + jitter(WATCH_JITTER)).as_secs();
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}",
            self.path
        );
        let mut body = match get(&self.client, &path).await {
            Ok(response) => response.into_body(),
            Err(failure) => return (version, Some(failure)),
        };
        self.report.works();
        let mut lines = Lines::default();
        let failure = loop {
            let limit = if self.bookmarks { QUIET_LIMIT } else { QUIET_LIMIT_WITHOUT_BOOKMARKS };
            let frame = match timeout(limit, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => break Some(broken(error)),
                Ok(None) => break None,
                Err(_) => break Some(Failure::Broken(format!("nothing came for {limit:?}"))),
            };
            let Some(bytes) = frame.data_ref() else { continue };
            let mut failure = None;
            let fed = lines.feed(bytes, |line| {
                if failure.is_none() {
                    failure = self.take(line, &mut version).err();
                }
            });
            if let Some(failure) = failure.or(fed.err().map(broken)) {
                break Some(failure);
            }
        };
        (version, failure)
    }

    /// Takes over what one line tells.
    fn take(&mut self, line: &[u8], version: &mut Box<str>) -> Result<(), Failure> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let kind: Kind = serde_json::from_slice(line).map_err(broken)?;
        match &*kind.r#type {
            "ADDED" | "MODIFIED" => {
                let pod: Of<KubePod> = serde_json::from_slice(line).map_err(broken)?;
                advance(version, &pod.object.version);
                self.pods.apply(pod.object);
            }
            "DELETED" => {
                let pod: Of<KubePod> = serde_json::from_slice(line).map_err(broken)?;
                advance(version, &pod.object.version);
                self.pods.delete(&pod.object);
            }
            "BOOKMARK" => {
                let bookmark: Of<Bookmark> = serde_json::from_slice(line).map_err(broken)?;
                advance(version, &bookmark.object.metadata.resource_version);
                self.bookmarks = true;
            }
            "ERROR" => {
                let status: Of<Status> = serde_json::from_slice(line).map_err(broken)?;
                return Err(Failure::of_status(status.object));
            }
            other => tracing::debug!(kind = %other.escape_debug(), "a watch told what is not known"),
        }
        Ok(())
    }
}

fn advance(version: &mut Box<str>, to: &str) {
    if !to.is_empty() {
        *version = to.into();
    }
}

/// Where to begin after `failure`.
///
/// A version that is too old to watch from is still one that a list must not fall behind of: without that,
/// a server that lags would bring back what is gone.
fn after(failure: &Failure, next: Next) -> Next {
    /// "Too large resource version": the cache of the server that answered is not there yet.
    const TOO_NEW: u16 = 504;
    match (failure, next) {
        (Failure::Gone, Next::Watch(version)) => Next::List(Some(version)),
        (Failure::Gone | Failure::Refused { status: TOO_NEW, .. }, Next::List(Some(_))) => Next::ListLatest,
        (_, next) => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_failure() {
        let refused = |status| Failure::Refused { status, message: String::new(), retry_after: None };
        let watch = || Next::Watch("7".into());
        let list = || Next::List(Some("7".into()));
        for (failure, next, want) in [
            (Failure::Gone, watch(), list()),
            (Failure::Gone, list(), Next::ListLatest),
            (refused(504), list(), Next::ListLatest),
            (Failure::Gone, Next::ListLatest, Next::ListLatest),
            (refused(403), watch(), watch()),
            (refused(500), Next::List(None), Next::List(None)),
            (Failure::Broken(String::new()), watch(), watch()),
            (refused(504), watch(), watch()),
        ] {
            assert_eq!(after(&failure, next.clone()), want, "{next:?} after {failure:?}");
        }
    }
}
