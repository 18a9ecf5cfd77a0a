//! The pods of this node from its kubelet: asked now and then, and when a container is met that is not known.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::backoff::{Backoff, jitter};
use super::kube_pod::KubePod;
use super::report::Report;
use super::request::{Failure, get_json};
use super::{Pods, Source};

/// Between two requests when nothing is missed: pods also end.
const EVERY: Duration = Duration::from_secs(60);
/// Between two requests at least, whatever is missed.
const AT_LEAST: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct List {
    items: Option<Vec<KubePod>>,
}

/// How many pods there are.
pub(super) async fn count(client: &kube::Client) -> Result<usize, Failure> {
    get_json::<List>(client, "/pods").await.map(|list| list.items.unwrap_or_default().len())
}

/// Runs until it is dropped. `client` asks the kubelet, not the API server.
pub(super) async fn run(client: kube::Client, pods: Arc<Pods>) {
    let mut report = Report::new(Source::Kubelet, Arc::clone(&pods));
    let mut backoff = Backoff::new();
    loop {
        let asked = Instant::now();
        match get_json::<List>(&client, "/pods").await {
            Ok(list) => {
                pods.replace(list.items.unwrap_or_default());
                report.works();
                backoff.reset();
            }
            Err(failure) => {
                report.failed("get", &failure);
                sleep(backoff.after_failure(Failure::retry_after(&failure))).await;
                continue;
            }
        }
        sleep_until(asked + AT_LEAST).await;
        // Only whether somebody missed something matters, or how long nobody did.
        let _ = timeout_at(asked + EVERY + jitter(EVERY / 10), pods.missed.notified()).await;
    }
}
