//! The connection to the API server: where it is, and who the agent is to it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// A connection that is not made by then will not be.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Whether this process was told of an API server: it runs in a pod, or `KUBECONFIG` names a file.
///
/// The file in the home directory does not count: it is a person's, and may be about any cluster.
pub fn configured(kubeconfig: Option<&Path>) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    kubeconfig.is_some() || set("KUBECONFIG") || set("KUBERNETES_SERVICE_HOST")
}

/// A client by `kubeconfig`, else by `KUBECONFIG`, else by the service account of this pod.
///
/// It makes no request yet. Repeating is the caller's: the client would hide refusals otherwise.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<kube::Client> {
    let mut config = config(kubeconfig).await?;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.default_retry = false;
    if config.cluster_url.scheme_str() == Some("http") && config.root_cert.is_none() {
        // Nothing will be verified, and a host or image without any certificate has none to look for.
        config.root_cert = Some(Vec::new());
    }
    kube::Client::try_from(config).context("cannot set up a client of the API server")
}

async fn config(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions::default();
    if let Some(path) = kubeconfig {
        let what = || format!("cannot use the kubeconfig {}", path.display());
        let file = Kubeconfig::read_from(path).with_context(what)?;
        return Config::from_custom_kubeconfig(file, &options).await.with_context(what);
    }
    if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
        return Config::from_kubeconfig(&options)
            .await
            .context("cannot use the kubeconfig that KUBECONFIG names");
    }
    if !configured(None) {
        bail!("there is no API server to ask: run in a pod with a service account, or name a --kubeconfig");
    }
    Config::incluster().context("cannot use this pod's service account; is automountServiceAccountToken off?")
}
