//! One request, and all that can become of it.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, RETRY_AFTER};
use hyper::{Request, Response};
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;

use super::read::cut;

/// An answer that has not begun by then is none.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// All pods of a node, as JSON: some 30 KiB each, and there are a few hundred.
const BODY_LIMIT: usize = 64 << 20;
/// That much has come by then, or the server is of no use.
const BODY_TIME: Duration = Duration::from_secs(60);
/// Of an answer that is an error. A `Status` is a few hundred bytes.
const ERROR_LIMIT: usize = 16 << 10;
/// What a log line shows of a server's message.
const MESSAGE_LIMIT: usize = 300;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The server refused.
    #[error("{status} {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's words, harmless.
        message: String,
        /// How long to stay away.
        retry_after: Option<Duration>,
    },
    /// What was asked for is too old: a list is needed.
    #[error("the version to go on from is too old")]
    Gone,
    /// No connection, none any more, or an answer that is none.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Gone | Self::Broken(_) => None,
        }
    }

    /// Without what may differ from time to time: what is told once.
    pub(super) const fn kind(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Gone => 410,
            Self::Broken(_) => 0,
        }
    }

    /// Of a `Status` object, as a watch may end with.
    pub(super) fn of_status(status: Status) -> Self {
        match status.code {
            410 => Self::Gone,
            code => Self::Refused { status: code, message: harmless(&status.message), retry_after: None },
        }
    }
}

/// What the API server says instead of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    code: u16,
    message: String,
}

/// Sends a GET, and is ready with the head of a good answer.
pub(super) async fn get(client: &kube::Client, path: &str) -> Result<Response<Body>, Failure> {
    let request = Request::get(path)
        .header(ACCEPT, "application/json")
        // A compressed watch would be decoded to its first event alone.
        .header(ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(broken)?;
    let response = match timeout(HEAD_LIMIT, client.send(request)).await {
        Ok(response) => response.map_err(broken)?,
        Err(_) => return Err(Failure::Broken(format!("no answer within {HEAD_LIMIT:?}"))),
    };
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = collect(response, ERROR_LIMIT).await.unwrap_or_default();
    let told: Status = serde_json::from_slice(&body).unwrap_or_default();
    if status == 410 {
        return Err(Failure::Gone);
    }
    let message = harmless(&told.message);
    Err(Failure::Refused { status, message, retry_after: retry_after.map(Duration::from_secs) })
}

/// Sends a GET, and is ready with what was asked for.
pub(super) async fn get_json<T: for<'a> Deserialize<'a>>(
    client: &kube::Client,
    path: &str,
) -> Result<T, Failure> {
    let body = collect(get(client, path).await?, BODY_LIMIT).await?;
    serde_json::from_slice(&body).map_err(broken)
}

async fn collect(response: Response<Body>, limit: usize) -> Result<Bytes, Failure> {
    let body = Limited::new(response.into_body(), limit).collect();
    match timeout(BODY_TIME, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Failure::Broken(chain(&*error))),
        Err(_) => Err(Failure::Broken(format!("the answer did not end within {BODY_TIME:?}"))),
    }
}

pub(super) fn broken(error: impl std::error::Error) -> Failure {
    Failure::Broken(chain(&error))
}

/// An error with its causes, of which the last is the one that helps.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    harmless(&text)
}

fn harmless(text: &str) -> String {
    cut(text, MESSAGE_LIMIT).replace(|character: char| character.is_control(), " ")
}
