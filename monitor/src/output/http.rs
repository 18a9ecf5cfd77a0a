//! `/metrics`, `/livez` and `/readyz`: a few requests a minute, and nothing that a client could hold up.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;

/// Connections at a time; more wait in the kernel's backlog.
const CONNECTIONS: usize = 32;

/// From the connection to the last byte of the answer. A connection serves one request: at a scrape's pace
/// a new one costs nothing, and none can be kept by being idle.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// A client that has not said what it wants by then does not want anything.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// After a failed accept (out of file descriptors, most likely), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The content type that Prometheus 3 insists on.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const FRONT_PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>aa-monitor</title></head><body>\n",
    "<h1>aa-monitor ",
    env!("CARGO_PKG_VERSION"),
    "</h1>\n<p>Counts what AppArmor denies, and what it would deny, on this node.</p>\n<ul>\n",
    "<li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n",
    "<li><a href=\"/livez\">/livez</a>, <a href=\"/readyz\">/readyz</a>: for the kubelet</li>\n",
    "</ul>\n</body></html>\n"
);

/// What the pages tell.
pub struct Pages {
    metrics: Arc<Metrics>,
    stopping: AtomicBool,
    /// One scrape is encoded at a time: its text may be a megabyte.
    encoding: Semaphore,
}

impl Pages {
    /// Ready from the start: an agent that lacks a source does what it can, and says so in its metrics.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, stopping: AtomicBool::new(false), encoding: Semaphore::new(1) }
    }

    /// From now on `/readyz` says no.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are served here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
        Ok(match request.uri().path() {
            "/metrics" => self.scrape().await,
            "/readyz" if self.stopping.load(Ordering::Relaxed) => {
                page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stopping\n")
            }
            "/livez" | "/readyz" => page(StatusCode::OK, PLAIN, "ok\n"),
            "/" => page(StatusCode::OK, HTML, FRONT_PAGE),
            _ => page(StatusCode::NOT_FOUND, PLAIN, "not here; see / for what is\n"),
        })
    }

    async fn scrape(self: &Arc<Self>) -> Response<Full<Bytes>> {
        let _turn = self.encoding.acquire().await;
        let metrics = Arc::clone(&self.metrics);
        match tokio::task::spawn_blocking(move || metrics.encode()).await {
            Ok(Ok(text)) => page(StatusCode::OK, EXPOSITION, text),
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Response<Full<Bytes>> {
    tracing::error!(%error, "cannot encode the metrics");
    page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "cannot encode the metrics; the log says why\n")
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Takes the port; or says who to ask about it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        let port = address.port();
        format!(
            "cannot listen on {address}; `ss -ltnp 'sport = :{port}'` shows what does, --listen takes another \
             address or port"
        )
    })
}

/// Serves `pages` until it is dropped.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = Arc::clone(&pages);
                tokio::spawn(async move {
                    serve_one(stream, pages).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(|request| Arc::clone(&pages).answer(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(REQUEST_LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client went away"),
        Err(_) => tracing::debug!("a client took too long"),
    }
}
