//! The watch of a node's pods against an API server that answers, refuses, breaks off and lies.
//!
//! On paused time: both sides live on one runtime, whose clock jumps to the next timer whenever neither has
//! anything to do. An hour of quiet takes a moment, and no test waits for real.
#![expect(clippy::expect_used, reason = "a test says by panicking what it expected")]

mod failures;
mod kubelet;
mod names;
mod quiet;
mod tls;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aa_monitor::identity::pods::index::Named;
use aa_monitor::identity::pods::{Options, Pods, Source, start};
use aa_monitor_tests::apiserver::ApiServer;
use tempfile::NamedTempFile;

/// A container id of one digit.
fn id(letter: char) -> String {
    assert!(letter.is_ascii_hexdigit(), "{letter} is no digit");
    letter.to_string().repeat(64)
}

/// A server, and the pods of `node-1` as the agent knows them from it.
struct Cluster {
    server: ApiServer,
    pods: Arc<Pods>,
    _kubeconfig: NamedTempFile,
}

impl Cluster {
    /// Nothing is asked before the caller waits: what it does to the server first comes first.
    fn new() -> Self {
        Self::with_token(None)
    }

    fn with_token(token: Option<&str>) -> Self {
        let server = ApiServer::spawn().expect("a port");
        let mut kubeconfig = NamedTempFile::new().expect("a file");
        kubeconfig.write_all(server.kubeconfig(token).as_bytes()).expect("written");
        let pods = start(Options {
            source: Some(Source::Api),
            node_name: Some("node-1".into()),
            kubeconfig: Some(kubeconfig.path().to_owned()),
            ..Options::default()
        });
        Self { server, pods, _kubeconfig: kubeconfig }
    }

    /// `namespace/workload/pod/container`, or what of it is known; empty when nothing is.
    fn name(&self, letter: char, uid: &str) -> String {
        let found = self.pods.find(&id(letter), Some(uid));
        let Some(Named::Fully(container) | Named::ByPod(container)) = found else {
            return String::new();
        };
        let pod = container.pod.as_deref().cloned().unwrap_or_default();
        format!("{}/{}/{}/{}", pod.namespace, pod.workload, pod.name, container.name)
    }

    /// Waits until the container is known so; for ten minutes of its own clock at most.
    async fn until(&self, letter: char, uid: &str, want: &str) {
        let mut changed = self.pods.changed();
        let known = async {
            while self.name(letter, uid) != want {
                changed.changed().await.expect("the pods are there");
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(600), known).await;
        assert!(
            in_time.is_ok(),
            "{want} is not known: {:?}, {:#?}",
            self.name(letter, uid),
            self.server.requests()
        );
    }
}
