//! `aa-monitor check`, on a machine that need not have AppArmor.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Output;

use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Resource, Verb};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::agent::{Agent, output};

/// Runs it with these flags beside `--json`: how it ended, and the answer.
fn check(args: &[&str]) -> (Output, Value) {
    let free = ["check", "--json", "--listen", "127.0.0.1:0"];
    // A flag that is given twice is refused.
    let ours = if args.contains(&"--listen") { &free[..2] } else { &free[..] };
    let output = output(&[ours, args].concat());
    let answer = serde_json::from_slice(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    (output.clone(), answer.unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// Status and message of what was looked at.
#[track_caller]
fn line<'a>(answer: &'a Value, check: &str) -> (&'a str, &'a str) {
    let checks = answer["checks"].as_array().expect("a list");
    let found = checks.iter().find(|found| found["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} is not in {answer:#}"));
    (found["status"].as_str().expect("a word"), found["message"].as_str().expect("a text"))
}

#[test]
fn the_exit_code_is_the_worst_line_and_each_bad_one_has_a_way_out() {
    let (output, answer) = check(&[]);
    let checks = answer["checks"].as_array().unwrap();
    let rank =
        |status: &Value| ["ok", "warn", "fail"].iter().position(|word| status == word).expect("a status");
    let worst = checks.iter().map(|found| rank(&found["status"])).max().unwrap();
    assert_eq!(rank(&answer["status"]), worst, "{answer:#}");
    assert_eq!(output.status.code(), Some(i32::from(worst == 2)), "{answer:#}");
    for found in checks {
        assert_eq!(found["status"] == "ok", found.get("advice").is_none(), "{found:#}");
    }
    for check in
        ["apparmor", "ebpf", "audit", "btf", "lockdown", "cap bpf", "cgroup", "bpffs", "state", "port"]
    {
        line(&answer, check);
    }
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let want = if enabled.is_ok_and(|text| text.trim() == "Y") { "ok" } else { "fail" };
    assert_eq!(line(&answer, "apparmor").0, want);
}

#[test]
fn text_has_the_same_lines() {
    let (_, answer) = check(&[]);
    let output = output(&["check", "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("-> ")).collect();
    let checks = answer["checks"].as_array().unwrap();
    assert_eq!(lines.len(), checks.len(), "{text}");
    for (line, found) in lines.iter().zip(checks) {
        assert!(line.starts_with(found["status"].as_str().unwrap()), "{line}: {found}");
    }
}

#[test]
fn a_port_is_free_an_agents_or_in_the_way() {
    let (_, answer) = check(&[]);
    assert_eq!(line(&answer, "port").0, "ok");
    let agent = Agent::start(&[]);
    let (_, answer) = check(&["--listen", &agent.address.to_string()]);
    assert_eq!(line(&answer, "port"), ("ok", &*format!("{} is served by an agent", agent.address)));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    std::thread::spawn({
        let other = other.try_clone().unwrap();
        move || drop(other.accept())
    });
    let (output, answer) = check(&["--listen", &other.local_addr().unwrap().to_string()]);
    assert_eq!((line(&answer, "port").0, output.status.code()), ("fail", Some(1)));
}

#[test]
fn the_api_server_is_asked_for_this_nodes_pods() {
    let server = ApiServer::start().unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(server.kubeconfig(None).as_bytes()).unwrap();
    let flags = ["--kubeconfig", file.path().to_str().unwrap(), "--node-name", "node-1"];
    for (name, prepare, want, part) in [
        ("none", (|_| {}) as fn(&ApiServer), "warn", "knows no pod on node node-1"),
        (
            "one",
            |server| {
                server.apply(&Resource::PODS, Pod::new("shop", "a", "a").json());
                server.apply(&Resource::PODS, Pod::new("shop", "b", "b").on("node-2").json());
            },
            "ok",
            "pods on node node-1: 1",
        ),
        (
            "refused",
            |server| {
                let refuse = Action::Refuse { status: 403, retry_after: None };
                server.fault(Fault::on(Verb::List, Resource::PODS, refuse));
            },
            "warn",
            "403",
        ),
        ("away", |server| server.present(false), "warn", "container's id"),
    ] {
        prepare(&server);
        let (_, answer) = check(&flags);
        let (status, message) = line(&answer, "api server");
        assert!(status == want && message.contains(part), "{name}: {status} {message}");
    }
}

/// Whether each permission is given, and what was said about it.
fn permissions(answer: &Value) -> Vec<(bool, String)> {
    let checks = answer["checks"].as_array().expect("a list").iter();
    let about = checks.filter(|found| found["check"] == "permission");
    about
        .map(|found| (found["status"] == "ok", found["message"].as_str().expect("a text").to_owned()))
        .collect()
}

#[test]
fn each_permission_that_the_configuration_needs_is_asked_about_and_named() {
    let server = ApiServer::start().unwrap();
    server.apply(&Resource::PODS, Pod::new("shop", "a", "a").json());
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(server.kubeconfig(None).as_bytes()).unwrap();
    // Loading programs is not what this is about.
    let common =
        ["--kubeconfig", file.path().to_str().unwrap(), "--node-name", "node-1", "--source", "audit"];
    let labels = ["--node-labels", "web*"];
    let kubelet = ["--pod-source", "kubelet", "--kubelet-url", &server.url(), "--kube-events", "off"];
    let proxied = Resource::NODES_PODS;
    for (name, flags, verb, resource, count, loss) in [
        ("list", &labels[..], Verb::List, Resource::PODS, 5, "list pods is not permitted: events carry"),
        ("watch", &labels, Verb::Watch, Resource::PODS, 5, "watch pods is not permitted: events carry"),
        (
            "create",
            &labels,
            Verb::Create,
            Resource::EVENTS,
            5,
            "create events.events.k8s.io is not permitted: `kube",
        ),
        (
            "patch",
            &labels,
            Verb::Patch,
            Resource::EVENTS,
            5,
            "patch events.events.k8s.io is not permitted: an Ev",
        ),
        ("nodes", &labels, Verb::Patch, Resource::NODES, 5, "patch nodes is not permitted: this node is not"),
        ("kubelet", &kubelet, Verb::Get, proxied, 1, "get nodes/pods is not permitted: the kubelet refuses"),
    ] {
        let flags = [&common[..], flags].concat();
        let (_, answer) = check(&flags);
        let all = permissions(&answer);
        assert!(all.len() == count && all.iter().all(|(given, _)| *given), "{name}: {all:?}");
        if resource == Resource::NODES_PODS {
            server.forbid(verb, resource);
            let (_, answer) = check(&flags);
            assert!(permissions(&answer).iter().all(|(given, _)| *given), "{name}: an older role is enough");
            server.forbid(verb, Resource::NODES_PROXY);
        } else {
            server.forbid(verb, resource);
        }
        let (output, answer) = check(&flags);
        let missing: Vec<_> = permissions(&answer).into_iter().filter(|(given, _)| !given).collect();
        assert_eq!(missing.len(), 1, "{name}: {missing:?}");
        assert!(missing.iter().all(|(_, said)| said.starts_with(loss)), "{name}: {missing:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("give the agent's ClusterRole apiGroups"), "{name}: {text}");
        server.permit_all();
    }
    assert!(server.all(&Resource::EVENTS).is_empty(), "nothing was tried out");
    server.fault(Fault::on(
        Verb::Create,
        Resource::ACCESS_REVIEWS,
        Action::Refuse { status: 404, retry_after: None },
    ));
    let (_, answer) = check(&common);
    let (status, message) = line(&answer, "permissions");
    assert!(status == "warn" && message.contains("asking whether list pods is permitted"), "{message}");
}

#[test]
fn what_is_not_configured_is_not_asked_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (_, answer) = check(&["--state-dir", state.to_str().unwrap(), "--source", "ebpf"]);
    assert!(
        answer["checks"].as_array().unwrap().iter().all(|found| found["check"] != "kubelet"),
        "{answer:#}"
    );
    assert_eq!(line(&answer, "audit"), ("ok", "not wanted (--source)"));
    assert!(!state.exists());
    let wrong = output(&["check", "--source", "ebf"]);
    assert_eq!(wrong.status.code(), Some(64));
}
