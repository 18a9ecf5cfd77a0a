//! What the agent does for a cluster beside counting: watches how containers are confined, writes Events,
//! labels the node. Each of these can be missing or fail, and the rest goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wildmatch::WildMatch;

use crate::config::Config;
use crate::identity::pods::{KubeContainer, Pods, client, node_name};
use crate::node::Node;
use crate::node::confinement::board::{Finding, Row, Rules, What};
use crate::node::profiles;
use crate::output::escape::escape;
use crate::output::kube_events::{KubeEvents, Reason, Subject};
use crate::output::{Outputs, node_labels};

/// After this a node without pods has none: the agent's own would be there.
const PODS_EXPECTED: Duration = Duration::from_secs(30);

/// A finding in words; an Event takes no more.
const TEXT_LIMIT: usize = 1000;

/// The tasks, until they are closed.
pub struct Cluster {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Cluster {
    /// Starts what `config` asks for, as far as it is possible here; says what is not.
    pub async fn start(config: &Config, node: &Arc<Node>, pods: &Arc<Pods>, outputs: &Outputs) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(profiles::run(Arc::clone(&node.profiles), stop.clone()));
        let events = outputs.kube_events().cloned();
        if pods.source().is_some() {
            let rules = Rules {
                defaults: config.default_profiles.clone(),
                allowed: config.allowed_profiles.clone().unwrap_or_default(),
            };
            let tell = {
                let events = events.clone();
                move |row: &Row, container: &KubeContainer, finding: &Finding| {
                    tell(events.as_deref(), row, container, finding);
                }
            };
            let (confinement, profiles) = (Arc::clone(&node.confinement), Arc::clone(&node.profiles));
            tasks.spawn(confinement.run(Arc::clone(pods), profiles, rules, tell, stop.clone()));
        }
        if client::configured(config.kubeconfig.as_deref()) {
            match node_name::find(config.node_name.as_deref()) {
                Ok(name) => {
                    tasks.spawn(say_if_empty(Arc::clone(pods), name.clone(), stop.clone()));
                    start_writers(&mut tasks, config, node, pods, events, name, &stop).await;
                }
                Err(why) => tracing::warn!("no Kubernetes Events: this node's name is not known: {why}"),
            }
        }
        Self { tasks, stop }
    }

    /// Has the last counts written, and is ready when all has ended.
    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

/// Starts what writes to the API server.
async fn start_writers(
    tasks: &mut JoinSet<()>,
    config: &Config,
    node: &Arc<Node>,
    pods: &Arc<Pods>,
    events: Option<Arc<KubeEvents>>,
    name: String,
    stop: &CancellationToken,
) {
    let kubeconfig = config.kubeconfig.as_deref();
    if let Some(events) = events {
        match client::connect(kubeconfig).await {
            Ok(client) => {
                events.know(Arc::clone(pods));
                tasks.spawn(events.write(client, name.clone(), stop.clone()));
            }
            Err(error) => tracing::warn!("no Kubernetes Events: {error:#}"),
        }
    }
    if let Some(pattern) = &config.node_labels {
        match client::connect(kubeconfig).await {
            Ok(client) => {
                let (pattern, profiles) = (WildMatch::new(pattern), Arc::clone(&node.profiles));
                tasks.spawn(node_labels::run(client, name, profiles, pattern, stop.clone()));
            }
            Err(error) => tracing::warn!("no node labels: {error:#}"),
        }
    }
}

/// Says what was found about a container, in the log and as an Event.
fn tell(events: Option<&KubeEvents>, row: &Row, container: &KubeContainer, finding: &Finding) {
    let Finding { what, profile, said, text } = finding;
    let pod = &row.pod.pod;
    // It holds a pod's own words; they must not act on who reads them.
    let text = escape(text.as_bytes(), TEXT_LIMIT);
    tracing::warn!(namespace = %pod.namespace, pod = %pod.name, "{text}");
    let reason = match what {
        What::Missing => Reason::ProfileMissing,
        What::Mismatch => Reason::ProfileMismatch,
        What::Invalid => Reason::ProfileInvalid,
        What::NotAllowed => Reason::ProfileNotAllowed,
    };
    let subject = Subject {
        reason,
        uid: &pod.uid,
        namespace: &pod.namespace,
        pod: &pod.name,
        container: &container.name,
        profile,
        class: "",
        operation: said,
    };
    if let Some(events) = events.filter(|_| !pod.name.is_empty()) {
        events.tell(&subject, container.kind, &text);
    }
}

/// A wrong node name looks like a node without pods.
async fn say_if_empty(pods: Arc<Pods>, name: String, stop: CancellationToken) {
    let empty = tokio::select! {
        empty = stays_empty(&pods) => empty,
        () = stop.cancelled() => return,
    };
    if empty {
        tracing::warn!(
            "no pod is bound to a node called {name:?}: if the node has another name, give it by --node-name or \
             NODE_NAME"
        );
    }
}

/// Whether there are no pods a while after they were first told of, whenever the API server comes to do that.
async fn stays_empty(pods: &Pods) -> bool {
    let mut changed = pods.changed();
    while !pods.synced() {
        if changed.changed().await.is_err() {
            return false;
        }
    }
    sleep(PODS_EXPECTED).await;
    pods.present() == 0
}

#[cfg(test)]
mod tests {
    use aa_monitor_tests::apiserver::pod::Pod;
    use aa_monitor_tests::apiserver::{ApiServer, Resource};
    use tokio::time::Instant;

    use super::*;
    use crate::identity::pods::{Options, Source, start};

    #[tokio::test(start_paused = true)]
    async fn a_node_without_pods_is_noticed_however_late_the_api_server_comes() {
        for (name, node, away) in [
            ("another name", "node-2", 0),
            ("the right name", "node-1", 0),
            ("another name, and no API server for an hour", "node-2", 3_600),
            ("the right name, and no API server for an hour", "node-1", 3_600),
        ] {
            let server = ApiServer::spawn().unwrap();
            server.apply(&Resource::PODS, Pod::new("shop", "web", "u").json());
            let folder = tempfile::tempdir().unwrap();
            let kubeconfig = folder.path().join("kubeconfig");
            std::fs::write(&kubeconfig, server.kubeconfig(None)).unwrap();
            server.present(away == 0);
            let began = Instant::now();
            let pods = start(Options {
                source: Some(Source::Api),
                node_name: Some(node.to_owned()),
                kubeconfig: Some(kubeconfig),
                ..Options::default()
            });
            let comes = async {
                sleep(Duration::from_secs(away)).await;
                server.present(true);
            };
            let (empty, ()) = tokio::join!(stays_empty(&pods), comes);
            assert_eq!(empty, node == "node-2", "{name}");
            assert!(began.elapsed() >= Duration::from_secs(away) + PODS_EXPECTED, "{name}");
        }
    }
}
