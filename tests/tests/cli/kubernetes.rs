//! The agent beside an API server: what it tells of pods, on a machine that need not have AppArmor.

use std::io::Write as _;
use std::time::{Duration, Instant};

use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Request, Resource, Verb};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::agent::Agent;

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/app";
const NODE: [&str; 2] = ["--node-name", "node-1"];

/// A server with one pod whose reference to a profile has no meaning, whatever the machine.
fn server() -> ApiServer {
    let server = ApiServer::start().unwrap();
    let pod = Pod::new("shop", "web-0", "uid-1").annotation(ANNOTATION, "local/web").container("app", "");
    server.apply(&Resource::PODS, pod.json());
    server
}

fn kubeconfig(server: &ApiServer) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(server.kubeconfig(None).as_bytes()).unwrap();
    file
}

fn start(file: &NamedTempFile, more: &[&str]) -> Agent {
    let arguments = ["--kubeconfig", file.path().to_str().unwrap()];
    Agent::start(&[&arguments[..], &NODE, more].concat())
}

fn written(requests: &[Request]) -> usize {
    let created = |request: &&Request| request.is(Verb::Create, &Resource::EVENTS) && request.status != 0;
    requests.iter().filter(created).count()
}

#[test]
fn what_a_pod_asks_for_in_vain_is_a_metric_an_event_and_a_line_of_the_log() {
    let server = server();
    let strict =
        Pod::new("strict", "db-0", "uid-2").annotation(ANNOTATION, "unconfined").container("app", "");
    server.apply(&Resource::PODS, strict.json());
    let file = kubeconfig(&server);
    let mut agent = start(&file, &["--allowed-profiles", "strict=runtime/default"]);
    agent.wait_for("no valid AppArmor profile reference");
    server.wait_for_requests(|requests| written(requests) == 2);
    let mut events: Vec<_> = server
        .all(&Resource::EVENTS)
        .iter()
        .map(|event| {
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            format!("{} {} {}", text("/reason"), text("/regarding/uid"), text("/reportingInstance"))
        })
        .collect();
    events.sort();
    assert_eq!(
        events,
        [
            "AppArmorProfileInvalid uid-1 aa-monitor-node-1",
            "AppArmorProfileNotAllowed uid-2 aa-monitor-node-1",
        ]
    );
    // The server has written them; the agent hears of it a moment later.
    let created = "aa_monitor_kube_events_total{result=\"created\"} 2";
    let deadline = Instant::now() + Duration::from_secs(10);
    while !agent.metrics().lines().any(|line| line == created) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let metrics = agent.metrics();
    for line in [
        "apparmor_container_profile_invalid{namespace=\"shop\",pod=\"web-0\",container=\"app\",profile=\"\"} 1",
        "apparmor_container_profile_not_allowed{namespace=\"strict\",pod=\"db-0\",container=\"app\",profile=\"unconfined\"} 1",
        "aa_monitor_kube_events_total{result=\"created\"} 2",
        "aa_monitor_kube_events_total{result=\"suppressed\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code(), Some(0));
}

#[test]
fn a_missing_permission_is_told_with_verb_and_resource_and_the_agent_goes_on() {
    let server = server();
    let forbid = Action::Refuse { status: 403, retry_after: None };
    server.fault(Fault::on(Verb::Create, Resource::EVENTS, forbid));
    let file = kubeconfig(&server);
    let mut agent = start(&file, &[]);
    let line = agent.wait_for("no Kubernetes Events");
    for part in ["verb \"create\"", "resource \"events\"", "group \"events.k8s.io\"", "--kube-events off"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(agent.request("GET", "/readyz").0.starts_with("HTTP/1.1 200"));
    assert!(agent.metrics().contains("apparmor_container_profile_invalid{namespace=\"shop\""));
}

#[test]
fn events_that_are_off_are_not_written() {
    let server = server();
    let file = kubeconfig(&server);
    let mut agent = start(&file, &["--kube-events", "off"]);
    agent.wait_for("no valid AppArmor profile reference");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code(), Some(0));
    assert_eq!(written(&server.requests()), 0);
}
