//! What is answered: objects, and the `Status` that stands for everything else.

use std::io;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Resource, Verb};

/// A body that may be a stream; its error cuts the connection.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        let reason = match status {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            410 => "Expired",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        Self { status, reason, message: message.into(), retry_after: None }
    }

    /// Of a fault: the words are those that the real server uses.
    pub(super) fn scripted(
        status: u16,
        retry_after: Option<u32>,
        verb: Option<Verb>,
        resource: Option<&Resource>,
    ) -> Self {
        let verb = verb.map_or("", Verb::as_str);
        let (plural, group) = resource.map_or(("", ""), |resource| (&*resource.plural, &*resource.group));
        let message = match status {
            401 => "Unauthorized".to_owned(),
            403 => format!(
                "{plural} is forbidden: User \"system:serviceaccount:monitoring:aa-monitor\" cannot {verb} \
                 resource \"{plural}\" in API group \"{group}\" at the cluster scope"
            ),
            404 => "the server could not find the requested resource".to_owned(),
            410 => too_old(),
            429 => "too many requests, please try again later".to_owned(),
            _ => "an error on the server has prevented the request from succeeding".to_owned(),
        };
        Self { retry_after, ..Self::new(status, message) }
    }

    /// As the object that tells it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.status,
        })
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = json(self.status, &self.to_json());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The message of a 410.
pub(super) fn too_old() -> String {
    "too old resource version".to_owned()
}

pub(super) fn json(status: u16, value: &Value) -> Response<Body> {
    text(status, value.to_string())
}

/// A body that says that it is JSON.
pub(super) fn text(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
