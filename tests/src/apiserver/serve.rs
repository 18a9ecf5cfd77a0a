//! The socket, and the way of a request: written down, spoilt if a fault says so, answered.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::answer::{Body, Refusal, json, text};
use super::log::Request;
use super::route::{Resource, Route, Verb, query};
use super::store::list_of;
use super::{Action, Fault, Shared, list, write};

/// The real server's limit for a request.
const BODY_LIMIT: usize = 3 << 20;

/// Takes the port at once, so that a test knows it; and again after an absence.
pub(super) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the handle is dropped.
pub(super) async fn run(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut present: watch::Receiver<bool>,
    mut dropped: oneshot::Receiver<()>,
) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = TcpListener::from_std(listener).ok();
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            },
            _ = present.changed() => {
                listener = None;
                connections.shutdown().await;
                while *present.borrow_and_update() && listener.is_none() {
                    listener = TcpListener::bind(address).await.ok();
                    if listener.is_none() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
            _ = &mut dropped => return,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Small pieces of a watch are not to wait for one another.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(Arc::clone(&shared), request));
    // An error is a client that has gone, or a connection that was to be cut.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: Arc<Shared>, request: HttpRequest<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await.map(Collected::to_bytes) else {
        return Ok(text(413, "the request is too large"));
    };
    let path = head.uri.path();
    if let Some(control) = path.strip_prefix("/_") {
        return Ok(control_answer(&shared, control, &body));
    }
    let query = query(head.uri.query().unwrap_or_default());
    let route = Route::parse(path);
    let verb = route.as_ref().and_then(|route| route.verb(head.method.as_str(), &query));
    let headers: BTreeMap<String, String> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let request = Request {
        method: head.method.to_string(),
        path: path.to_owned(),
        query,
        verb,
        resource: route.as_ref().map(|route| route.resource.clone()),
        namespace: route.as_ref().and_then(|route| route.namespace.clone()),
        name: route.as_ref().and_then(|route| route.name.clone()),
        headers,
        body: body.to_vec(),
        at: tokio::time::Instant::now(),
        status: 0,
    };
    let number = shared.log.add(request.clone());
    let response = match shared.faults.take(verb, request.resource.as_ref()) {
        Some(Action::Refuse { status, retry_after }) => {
            Refusal::scripted(status, retry_after, verb, request.resource.as_ref()).into_response()
        }
        Some(Action::Disconnect) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Action::Hang) => std::future::pending().await,
        Some(Action::Garbage(body)) => text(200, body),
        Some(Action::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            handle(&shared, route, &request).unwrap_or_else(Refusal::into_response)
        }
        None => handle(&shared, route, &request).unwrap_or_else(Refusal::into_response),
    };
    shared.log.answered(number, response.status().as_u16());
    Ok(response)
}

fn handle(shared: &Arc<Shared>, route: Option<Route>, request: &Request) -> Result<Response<Body>, Refusal> {
    let token = shared.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
    if token.is_some_and(|token| header("authorization") != format!("Bearer {token}")) {
        return Err(Refusal::new(401, "Unauthorized"));
    }
    let route = route.ok_or_else(|| Refusal::new(404, "the server could not find the requested resource"))?;
    let verb = request.verb.ok_or_else(|| Refusal::new(405, "the server does not allow this method here"))?;
    shared.access.check(verb, &route.resource)?;
    let (body, status) = match verb {
        Verb::Create if route.resource == Resource::ACCESS_REVIEWS => {
            (shared.access.review(&request.body)?, 201)
        }
        Verb::Watch => return super::watch::watch(shared, route, &request.query),
        Verb::List if route.resource == Resource::KUBELET_PODS => (kubelet_pods(shared), 200),
        Verb::List => (list::list(shared, &route, &request.query)?, 200),
        Verb::Get => (write::get(shared, &route)?, 200),
        Verb::Create => (write::create(shared, &route, &request.body)?, 201),
        Verb::Update => (write::replace(shared, &route, &request.body)?, 200),
        Verb::Patch => (write::patch(shared, &route, &request.body, header("content-type"))?, 200),
        Verb::Delete => (write::delete(shared, &route)?, 200),
    };
    Ok(json(status, &body))
}

/// What a kubelet answers to `/pods`: the pods of its node (here: all), with no version of the list.
fn kubelet_pods(shared: &Shared) -> Value {
    let pods = shared.store().all(&Resource::PODS);
    let list = list_of(&Resource::KUBELET_PODS, 0, &pods, None);
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list.get("items") })
}

/// For those who have no handle: `/_faults` takes one (POST) or forgets all (empty body), `/_requests` tells
/// what was asked, `/_compact` and `/_disconnect` do as the handle's methods.
fn control_answer(shared: &Shared, path: &str, body: &[u8]) -> Response<Body> {
    match path {
        "faults" if body.is_empty() => shared.faults.clear(),
        "faults" => {
            let fault = serde_json::from_slice(body).ok().and_then(|value| Fault::from_json(&value));
            let Some(fault) = fault else {
                return Refusal::new(400, "no fault that is known").into_response();
            };
            shared.faults.add(fault);
        }
        "compact" => shared.store().compact(),
        "disconnect" => shared.cut.send_modify(|cut| *cut += 1),
        "requests" => {
            let requests = shared.log.all().into_iter().map(|request| {
                json!({ "method": request.method, "path": request.path, "query": request.query, "status": request.status })
            });
            return json(200, &requests.collect());
        }
        _ => return Refusal::new(404, "no such control").into_response(),
    }
    json(200, &json!({}))
}
