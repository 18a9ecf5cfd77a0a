//! Which source it is, and its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::interval;

use super::index::Limits;
use super::kubelet_client::{self, Trust};
use super::report::way_out;
use super::{Pods, Source, api, client, kubelet, node_name, now};

/// How often what is gone for too long is forgotten.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// What the pods are asked for by.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where from; none for a host without Kubernetes.
    pub source: Option<Source>,
    /// What this node is called, if it was said.
    pub node_name: Option<String>,
    /// The file that says where the API server is, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// Where the kubelet is, if it was said.
    pub kubelet_url: Option<String>,
    /// How the kubelet is known to be the kubelet.
    pub kubelet_trust: Trust,
    /// How much is kept.
    pub limits: Limits,
}

/// Starts the source, if there is one, until the handle is dropped. A source that cannot be started is told in
/// the log, and everything goes on without names.
pub fn start(options: Options) -> Arc<Pods> {
    let pods = Arc::new(Pods::new(options.source, options.limits));
    let Some(source) = options.source else { return pods };
    let weak = Arc::downgrade(&pods);
    tokio::spawn(async move {
        let mut tick = interval(EXPIRE_EVERY);
        loop {
            tick.tick().await;
            let Some(pods) = weak.upgrade() else { return };
            pods.expire(now());
        }
    });
    let filled = Arc::clone(&pods);
    tokio::spawn(async move {
        if let Err(error) = fill(source, &options, &filled).await {
            filled.failed();
            filled.set_up(false);
            tracing::warn!(source = source.as_str(), "pods will not be known by name: {error:#}");
        }
    });
    pods
}

async fn fill(source: Source, options: &Options, pods: &Arc<Pods>) -> anyhow::Result<()> {
    let node = node_name::find(options.node_name.as_deref()).map_err(anyhow::Error::msg)?;
    match source {
        Source::Api => {
            let client = client::connect(options.kubeconfig.as_deref()).await?;
            tracing::debug!(node, "watching the pods of this node");
            api::Watch::new(client, &node, Arc::clone(pods)).run().await;
        }
        Source::Kubelet => {
            kubelet::run(kubelet_at(&node, options)?, Arc::clone(pods)).await;
        }
    }
    Ok(())
}

/// Why a source that was tried out told nothing.
#[derive(Clone, Debug)]
pub struct NoAnswer {
    /// What became of it.
    pub message: String,
    /// What the user can do, where that is not a part of the message.
    pub way_out: Option<&'static str>,
}

impl From<anyhow::Error> for NoAnswer {
    fn from(error: anyhow::Error) -> Self {
        Self { message: format!("{error:#}"), way_out: None }
    }
}

/// Asks the source once, for this node's pods: the node's name, and how many there are.
pub async fn try_out(options: &Options) -> Result<(String, usize), NoAnswer> {
    let node = node_name::find(options.node_name.as_deref()).map_err(anyhow::Error::msg)?;
    let source = options.source.context("there is no source of pods")?;
    let count = match source {
        Source::Api => {
            let client = client::connect(options.kubeconfig.as_deref()).await?;
            api::count(&client, &node).await
        }
        Source::Kubelet => kubelet::count(&kubelet_at(&node, options)?).await,
    };
    match count {
        Ok(count) => Ok((node, count)),
        Err(failure) => Err(NoAnswer { message: failure.to_string(), way_out: way_out(source, &failure) }),
    }
}

fn kubelet_at(node: &str, options: &Options) -> anyhow::Result<kube::Client> {
    let url = options.kubelet_url.clone().unwrap_or_else(|| format!("https://{node}:10250"));
    kubelet_client::client(&url, &options.kubelet_trust)
}
