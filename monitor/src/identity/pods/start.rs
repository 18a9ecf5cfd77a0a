//! Which source it is, and its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::AuthInfo;
use tokio::time::interval;

use super::index::Limits;
use super::{Pods, Source, api, client, kubelet, node_name, now};

/// How often what is gone for too long is forgotten.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// Where a pod finds its service account's token. It is read again every minute: it rotates.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

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
            let url = options.kubelet_url.clone().unwrap_or_else(|| format!("https://{node}:10250"));
            let client = kubelet_client(&url)?;
            kubelet::run(client, Arc::clone(pods)).await;
        }
    }
    Ok(())
}

/// Asks the source once, for this node's pods: the node's name, and how many there are.
pub async fn try_out(options: &Options) -> anyhow::Result<(String, usize)> {
    let node = node_name::find(options.node_name.as_deref()).map_err(anyhow::Error::msg)?;
    let count = match options.source.context("there is no source of pods")? {
        Source::Api => {
            let client = client::connect(options.kubeconfig.as_deref()).await?;
            api::count(&client, &node).await
        }
        Source::Kubelet => {
            let url = options.kubelet_url.clone().unwrap_or_else(|| format!("https://{node}:10250"));
            kubelet::count(&kubelet_client(&url)?).await
        }
    };
    Ok((node, count?))
}

/// A client of the kubelet at `url`.
///
/// A kubelet's certificate is its own work unless the cluster was set up otherwise, so it is not verified, as
/// the API server itself does not verify it by default. The token goes to whoever answers on this node's own
/// address; the kubelet could read it from the pod anyway.
fn kubelet_client(url: &str) -> anyhow::Result<kube::Client> {
    let what = || format!("{url} is no kubelet's address");
    let mut config = kube::Config::new(url.parse().with_context(what)?);
    config.accept_invalid_certs = true;
    config.default_retry = false;
    if std::path::Path::new(TOKEN_FILE).exists() {
        config.auth_info = AuthInfo { token_file: Some(TOKEN_FILE.to_owned()), ..AuthInfo::default() };
    }
    kube::Client::try_from(config).with_context(what)
}
