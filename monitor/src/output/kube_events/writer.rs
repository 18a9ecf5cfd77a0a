//! The task that talks to the API server: one request at a time, sightings are counted meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Request, StatusCode};
use k8s_openapi::Resource;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use kube::core::params::{Patch, PatchParams, PostParams};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::KubeEvents;
use super::object;
use super::recorder::{Outcome, Write};
use crate::output::escape::escape;

/// An API server that says nothing for so long is treated as one that is away.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// What is read of an answer: it is only looked at for the reason of a refusal.
const BODY_LIMIT: usize = 64 << 10;
/// What a log line shows of a refusal.
const MESSAGE_LIMIT: usize = 300;
/// How long the last words may take when the agent ends.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// Writes what `events` wants written, until `stop`; then what the budgets still allow.
///
/// `client` must not retry by itself (`Config::default_retry`): pauses are kept here, where they are bounded
/// and counted.
pub(super) async fn run(events: Arc<KubeEvents>, client: Client, node: String, stop: CancellationToken) {
    let mut writer = Writer { events, client, instance: object::instance(&node), complained: HashSet::new() };
    loop {
        if let Some(write) = writer.events.next_write() {
            writer.make(&write).await;
            if stop.is_cancelled() {
                break;
            }
            continue;
        }
        let deadline = writer.events.deadline();
        let due = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = writer.events.woken() => {}
            () = due => {}
            () = stop.cancelled() => break,
        }
    }
    writer.events.close();
    let last_words = async {
        while let Some(write) = writer.events.next_write() {
            writer.make(&write).await;
        }
    };
    // What could not be told is in the series of no Event, and in no counter of told ones.
    let _ = timeout(CLOSING_LIMIT, last_words).await;
}

struct Writer {
    events: Arc<KubeEvents>,
    client: Client,
    instance: String,
    /// Verbs that the log already says are missing.
    complained: HashSet<&'static str>,
}

impl Writer {
    async fn make(&mut self, write: &Write) {
        let verb = match write {
            Write::Create(_) => "create",
            Write::Patch(_) => "patch",
        };
        let outcome = match timeout(ANSWER_LIMIT, self.request(write)).await {
            Ok(Ok((status, headers, body))) => {
                let outcome = judge(status, &headers, &body);
                self.log(verb, status, &body, outcome);
                outcome
            }
            Ok(Err(error)) => {
                tracing::debug!(verb, "the API server cannot be asked: {error}");
                Outcome::Failed
            }
            Err(_) => {
                tracing::debug!(verb, limit = ?ANSWER_LIMIT, "the API server does not answer");
                Outcome::Failed
            }
        };
        self.events.finished(outcome);
    }

    async fn request(&self, write: &Write) -> anyhow::Result<(StatusCode, HeaderMap, Vec<u8>)> {
        let request = match write {
            Write::Create(create) => {
                let body = serde_json::to_vec(&object::event(create, &self.instance))?;
                resource(&create.key.namespace).create(&PostParams::default(), body)?
            }
            Write::Patch(patch) => {
                let body = Patch::Merge(object::series_patch(patch));
                resource(&patch.namespace).patch(&patch.name, &PatchParams::default(), &body)?
            }
        };
        let request: Request<Body> = request.map(Body::from);
        let response = self.client.send(request).await?;
        let (parts, body) = response.into_parts();
        // A body that is too long or breaks off changes nothing about the status.
        let body = Limited::new(body, BODY_LIMIT).collect().await.map(|body| body.to_bytes().to_vec());
        Ok((parts.status, parts.headers, body.unwrap_or_default()))
    }

    fn log(&mut self, verb: &'static str, status: StatusCode, body: &[u8], outcome: Outcome) {
        // A refusal may repeat what was refused, and that a container chose.
        let message = message(body);
        let message = escape(message.as_bytes(), MESSAGE_LIMIT);
        match outcome {
            Outcome::Done => {
                self.complained.remove(verb);
            }
            Outcome::Forbidden if !self.complained.insert(verb) => {}
            Outcome::Forbidden if status == StatusCode::UNAUTHORIZED => tracing::warn!(
                "no Kubernetes Events: the API server does not accept the agent's credentials; see that its \
                 service account token is mounted and not revoked ({message})"
            ),
            Outcome::Forbidden => tracing::warn!(
                status = status.as_u16(),
                "no Kubernetes Events: the API server does not allow verb {verb:?} on resource \
                 \"events\" of group \"{}\"; add it to the agent's ClusterRole, or run with \
                 --kube-events off ({message})",
                Event::GROUP,
            ),
            Outcome::Refused => {
                tracing::warn!(status = status.as_u16(), verb, "the API server refuses an Event: {message}");
            }
            _ => tracing::debug!(status = status.as_u16(), verb, "Event not written now: {message}"),
        }
    }
}

fn resource(namespace: &str) -> kube::core::Request {
    let (group, version) = (Event::GROUP, Event::VERSION);
    kube::core::Request::new(format!("/apis/{group}/{version}/namespaces/{namespace}/events"))
}

/// What an answer means for the write.
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    match status {
        status if status.is_success() => Outcome::Done,
        // Of a creation: the namespace is on its way out, and its Events with it.
        StatusCode::FORBIDDEN if message(body).contains("being terminated") => Outcome::Refused,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Forbidden,
        StatusCode::NOT_FOUND => Outcome::Gone,
        StatusCode::CONFLICT if reason(body) == "AlreadyExists" => Outcome::Exists,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => match retry_after(headers, body) {
            Some(pause) => Outcome::Later(pause),
            None => Outcome::Failed,
        },
        StatusCode::CONFLICT | StatusCode::REQUEST_TIMEOUT => Outcome::Failed,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// The pause that the server asks for: in seconds, as API servers say it, in a header or in the body.
fn retry_after(headers: &HeaderMap, body: &[u8]) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let seconds = header.or_else(|| {
        let details = parse(body)?.details?;
        Some(u64::from(details.retry_after_seconds)).filter(|seconds| *seconds > 0)
    });
    seconds.map(Duration::from_secs)
}

fn parse(body: &[u8]) -> Option<Status> {
    serde_json::from_slice(body).ok()
}

fn reason(body: &[u8]) -> String {
    parse(body).map(|status| status.reason).unwrap_or_default()
}

fn message(body: &[u8]) -> String {
    parse(body).map(|status| status.message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
