//! Publishes loaded profiles as labels of this node, kept up to date as policy changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wildmatch::WildMatch;

use crate::node::labels::{Labels, labels, patch};
use crate::node::profiles::Profiles;

/// A rollout of profiles changes policy for a while; the API server hears of it once.
const GATHER: Duration = Duration::from_secs(10);
/// After a failure. Labels are for schedulers, who do not wait for them.
const RETRY: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Labels the node called `name` with the profiles that match `pattern`, until `stop`.
///
/// Needs the verb `patch` for nodes and no other: what a patch answers is the node, and so the labels that it
/// had. The labels stay when the agent ends; its next start brings them up to date.
pub async fn run(
    client: Client,
    name: String,
    profiles: Arc<Profiles>,
    pattern: WildMatch,
    stop: CancellationToken,
) {
    let nodes: Api<Node> = Api::all(client);
    let mut changed = profiles.subscribe();
    let mut complained = false;
    let mut left_out = 0;
    loop {
        changed.mark_unchanged();
        let pause = match profiles.inventory() {
            // Taking all labels away because a file cannot be read would move pods.
            Err(_) => None,
            Ok(inventory) => match publish(&nodes, &name, &labels(&inventory, &pattern), &mut left_out).await
            {
                Ok(()) => {
                    complained = false;
                    None
                }
                Err(error) => {
                    if !complained {
                        tracing::warn!("the labels of node {name} are not up to date: {error:#}");
                        complained = true;
                    }
                    Some(RETRY)
                }
            },
        };
        let retry = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changed.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::select! {
                    () = sleep(GATHER) => {}
                    () = stop.cancelled() => return,
                }
            }
            () = retry => {}
            () = stop.cancelled() => return,
        }
    }
}

/// `told` is how many were last said to have no label.
async fn publish(nodes: &Api<Node>, name: &str, wanted: &Labels, told: &mut usize) -> anyhow::Result<()> {
    if std::mem::replace(told, wanted.left_out) != wanted.left_out && wanted.left_out > 0 {
        tracing::warn!(
            left_out = wanted.left_out,
            "profiles that match --node-labels have no label, for there are too many, or another has the same \
             label: narrow the pattern"
        );
    }
    // The first one may change nothing; it is asked for its answer.
    let first = patch(wanted, &BTreeMap::new()).unwrap_or_else(|| serde_json::json!({ "metadata": {} }));
    let present = send(nodes, name, &first).await?;
    if let Some(rest) = patch(wanted, &present) {
        send(nodes, name, &rest).await?;
    }
    Ok(())
}

/// Patches the node; answers the labels that it then has.
async fn send(
    nodes: &Api<Node>,
    name: &str,
    change: &serde_json::Value,
) -> anyhow::Result<BTreeMap<String, String>> {
    let (parameters, change) = (PatchParams::default(), Patch::Merge(change));
    let answer = timeout(ANSWER_LIMIT, nodes.patch(name, &parameters, &change));
    match answer.await.context("the API server does not answer")? {
        Ok(node) => Ok(node.metadata.labels.unwrap_or_default()),
        Err(kube::Error::Api(status)) if status.code == 403 => anyhow::bail!(
            "the API server does not allow verb \"patch\" on resource \"nodes\": add it to the agent's ClusterRole, \
             or run without --node-labels ({})",
            status.message
        ),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            anyhow::bail!("there is no node of this name: give --node-name ({})", status.message)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Resource, Verb};
    use serde_json::{Value, json};

    use super::*;
    use crate::node::profiles::Inventory;

    struct Lab {
        server: ApiServer,
        profiles: Arc<Profiles>,
        stop: CancellationToken,
    }

    impl Lab {
        fn new(labels: Value) -> Self {
            let server = ApiServer::spawn().unwrap();
            let node = json!({ "metadata": { "name": "node-1", "labels": labels } });
            server.apply(&Resource::NODES, node);
            Self { server, profiles: Arc::default(), stop: CancellationToken::new() }
        }

        fn load(&self, list: &str) {
            self.profiles.set(Ok(Inventory::parse(list.as_bytes())));
        }

        fn start(&self, name: &str) {
            let mut config = kube::Config::new(self.server.url().parse().unwrap());
            config.default_retry = false;
            let client = Client::try_from(config).unwrap();
            let profiles = Arc::clone(&self.profiles);
            tokio::spawn(run(client, name.to_owned(), profiles, WildMatch::new("k8s-*"), self.stop.clone()));
        }

        fn labels(&self) -> Value {
            self.server.get(&Resource::NODES, "", "node-1").unwrap()["metadata"]["labels"].clone()
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_nodes_labels_follow_its_policy_and_nothing_else_is_touched() {
        let lab =
            Lab::new(json!({ "kubernetes.io/os": "linux", "apparmor.aa-monitor.io/k8s-old": "enforce" }));
        lab.load("k8s-web (enforce)\nother (enforce)\n");
        lab.start("node-1");
        sleep(MINUTE).await;
        let want = json!({ "kubernetes.io/os": "linux", "apparmor.aa-monitor.io/k8s-web": "enforce" });
        assert_eq!(lab.labels(), want);
        for list in ["k8s-web (complain)\n", "k8s-web (complain)\nk8s-db (enforce)\n", "k8s-db (kill)\n"] {
            lab.load(list);
        }
        sleep(MINUTE).await;
        let want = json!({ "kubernetes.io/os": "linux", "apparmor.aa-monitor.io/k8s-db": "kill" });
        assert_eq!(lab.labels(), want);
        let verbs: Vec<_> = lab.server.requests().iter().filter_map(|request| request.verb).collect();
        assert_eq!(verbs, [Verb::Patch; 4], "patch is all that is permitted");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_tried_again_once_a_minute() {
        let lab = Lab::new(json!({}));
        lab.server.fault(
            Fault::on(Verb::Patch, Resource::NODES, Action::Refuse { status: 403, retry_after: None })
                .times(3),
        );
        lab.load("k8s-web (enforce)\n");
        lab.start("node-1");
        sleep(3 * MINUTE + GATHER).await;
        assert_eq!(lab.labels(), json!({ "apparmor.aa-monitor.io/k8s-web": "enforce" }));
        assert_eq!(lab.server.requests().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_cannot_be_read_takes_no_label_away() {
        let lab = Lab::new(json!({ "apparmor.aa-monitor.io/k8s-web": "enforce" }));
        lab.start("node-1");
        sleep(10 * MINUTE).await;
        assert!(lab.server.requests().is_empty());
    }
}
