//! The running agent and an API server: what it logs and exports of it.

use std::io::Write as _;

use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Resource, Verb};
use tempfile::NamedTempFile;

use crate::agent::Agent;

/// A server, a kubeconfig for it, and the flags that make an agent use it.
fn cluster() -> (ApiServer, NamedTempFile) {
    let server = ApiServer::start().expect("a port");
    let mut kubeconfig = NamedTempFile::new().expect("a file");
    kubeconfig.write_all(server.kubeconfig(None).as_bytes()).expect("written");
    (server, kubeconfig)
}

fn agent(kubeconfig: &NamedTempFile) -> Agent {
    let path = kubeconfig.path().to_str().expect("a path");
    Agent::start(&["--kubeconfig", path, "--node-name", "node-1"])
}

#[track_caller]
fn has(agent: &Agent, line: &str) {
    let text = agent.metrics();
    assert!(text.lines().any(|found| found == line), "{line}\n{text}");
}

#[test]
fn the_pods_of_the_node_are_known_and_counted() {
    let (server, kubeconfig) = cluster();
    for (name, node) in [("a", "node-1"), ("b", "node-1"), ("c", "node-2")] {
        server.apply(&Resource::PODS, Pod::new("shop", name, name).on(node).json());
    }
    let mut agent = agent(&kubeconfig);
    agent.wait_for("pods are known by name");
    has(&agent, "aa_monitor_pods 2");
    has(&agent, r#"aa_monitor_pod_source_up{source="api"} 1"#);
    has(&agent, r#"aa_monitor_pod_source_up{source="kubelet"} 0"#);
    has(&agent, r#"aa_monitor_pod_source_failures_total{source="api"} 0"#);
    server.wait_for_requests(|requests| requests.len() >= 2);
    let [list, watch] = &*server.requests() else { panic!("{:?}", server.requests()) };
    assert!(list.is(Verb::List, &Resource::PODS) && watch.is(Verb::Watch, &Resource::PODS));
}

#[test]
fn a_refusal_is_told_once_with_verb_and_resource_and_the_agent_stays_ready() {
    let (server, kubeconfig) = cluster();
    server.fault(Fault::on(Verb::List, Resource::PODS, Action::Refuse { status: 403, retry_after: None }));
    let mut agent = agent(&kubeconfig);
    let line = agent.wait_for("cannot list pods");
    for part in
        ["WARN", "cannot list resource \"pods\"", "403", "allow its service account to list and watch pods"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    server.wait_for_requests(|requests| requests.len() >= 3);
    assert!(agent.request("GET", "/readyz").0.starts_with("HTTP/1.1 200"));
    has(&agent, r#"aa_monitor_pod_source_up{source="api"} 0"#);
    server.heal();
    // Nothing about it in between, although it was refused more than once.
    let mut lines = agent.lines_until("pods are known by name");
    lines.retain(|line| line.contains("list pods"));
    assert_eq!(lines, Vec::<String>::new());
    has(&agent, r#"aa_monitor_pod_source_up{source="api"} 1"#);
}

#[test]
fn a_source_that_cannot_be_started_is_told_and_done_without() {
    let mut agent =
        Agent::start(&["--pod-source", "api", "--kubeconfig", "/nonexistent/config", "--node-name", "n"]);
    let line = agent.wait_for("pods will not be known by name");
    assert!(line.contains("/nonexistent/config"), "{line}");
    assert!(agent.request("GET", "/readyz").0.starts_with("HTTP/1.1 200"));
    has(&agent, r#"aa_monitor_pod_source_up{source="api"} 0"#);
}

#[test]
fn the_kubelet_serves_as_well() {
    let server = ApiServer::start().expect("a port");
    server.apply(&Resource::PODS, Pod::new("shop", "a", "a").json());
    let mut agent =
        Agent::start(&["--pod-source", "kubelet", "--kubelet-url", &server.url(), "--node-name", "node-1"]);
    agent.wait_for("pods are known by name");
    has(&agent, "aa_monitor_pods 1");
    has(&agent, r#"aa_monitor_pod_source_up{source="kubelet"} 1"#);
    assert_eq!(server.count(Verb::List, &Resource::KUBELET_PODS), server.requests().len());
}
