//! The agent's life: serves, stays, stops.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::agent::{Agent, output};

/// What an orchestrator is promised.
const DRAIN: Duration = Duration::from_secs(5);

#[test]
fn a_signal_ends_the_agent_in_time_and_without_an_error() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::start(&["--output", "json"]);
        let start = Instant::now();
        agent.signal(signal);
        let status = agent.end();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(start.elapsed() < DRAIN, "{signal}: {:?}", start.elapsed());
        let mut printed = String::new();
        agent.stdout().read_to_string(&mut printed).unwrap();
        assert!(
            printed.lines().all(|line| line.starts_with('{')),
            "only events on standard output: {printed}"
        );
    }
}

#[test]
fn a_taken_port_is_told_and_ends_the_second_agent() {
    let agent = Agent::start(&[]);
    let address = agent.address.to_string();
    let second = output(&["run", "--listen", &address]);
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("cannot listen on {address}")) && text.contains("--listen"), "{text}");
    assert_eq!(agent.request("GET", "/livez").1, "ok\n", "the first one serves on");
}

#[test]
fn without_privileges_each_source_says_what_it_lacks_and_the_agent_serves_on() {
    // What takes root's capabilities away; anybody else has none.
    let without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];
    let root = nix::unistd::geteuid().is_root();
    let mut agent = Agent::start_by(if root { &without } else { &[] }, &[]);
    let audit = agent.wait_for("source=audit");
    assert!(audit.contains("CAP_AUDIT_READ") && audit.contains("which this process lacks"), "{audit}");
    let ebpf = agent.wait_for("source=ebpf");
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let want = if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        "CONFIG_DEBUG_INFO_BTF"
    } else if enabled.is_ok_and(|word| word.trim() == "Y") {
        "CAP_BPF"
    } else {
        "AppArmor is not built in"
    };
    assert!(ebpf.contains(want), "want {want}: {ebpf}");
    assert_eq!(agent.request("GET", "/livez").1, "ok\n");
    for source in ["ebpf", "audit"] {
        let row = format!("aa_monitor_source_up{{source=\"{source}\"}} 0");
        assert!(agent.metrics().lines().any(|line| line == row), "{row}");
    }
}

#[test]
fn the_least_of_everything_is_enough_to_stay_up() {
    let agent = Agent::start(&[
        "--ring-size=4KiB",
        "--netlink-buffer=4KiB",
        "--queue-length=1",
        "--series-limit=100",
        "--state-dir=/dev/null/state",
    ]);
    assert!(agent.request("GET", "/readyz").0.starts_with("HTTP/1.1 200"));
    assert!(agent.request("GET", "/metrics").1.contains("aa_monitor_events_lost_total"));
}

#[test]
fn a_second_agent_is_told_who_the_first_is() {
    let state = std::env::temp_dir().join(format!("aa-monitor-{}.state", std::process::id()));
    let flag = format!("--state-dir={}", state.display());
    let _first = Agent::start(&[&flag]);
    let second = output(&["run", "--listen", "127.0.0.1:0", &flag]);
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    let holder = std::fs::read_to_string(state.join("lock")).unwrap();
    assert!(text.contains(&format!("process {holder} holds")), "{text}");
    std::fs::remove_dir_all(&state).unwrap();
}

#[test]
fn a_pipe_that_nobody_reads_is_told_and_not_waited_for() {
    let pipe = std::env::temp_dir().join(format!("aa-monitor-{}.pipe", std::process::id()));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let agent = output(&[
        "run",
        "--listen",
        "127.0.0.1:0",
        "--output",
        "json",
        "--output-file",
        pipe.to_str().unwrap(),
    ]);
    std::fs::remove_file(&pipe).unwrap();
    let text = String::from_utf8_lossy(&agent.stderr);
    assert_eq!(agent.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot write events to") && text.contains("--output-file"), "{text}");
}

#[test]
fn pages_answer_as_kubelet_prometheus_and_people_expect() {
    let agent = Agent::start(&[]);
    for (method, path, status, content_type, part) in [
        ("GET", "/metrics", "200 OK", "text/plain; version=0.0.4; charset=utf-8", "\napparmor_enabled "),
        ("HEAD", "/metrics", "200 OK", "text/plain; version=0.0.4; charset=utf-8", ""),
        ("GET", "/livez", "200 OK", "text/plain; charset=utf-8", "ok\n"),
        ("GET", "/readyz", "200 OK", "text/plain; charset=utf-8", "ok\n"),
        ("GET", "/readyz?verbose", "200 OK", "text/plain; charset=utf-8", "ok\n"),
        ("GET", "/", "200 OK", "text/html; charset=utf-8", "href=\"/metrics\""),
        ("GET", "/metrics/", "404 Not Found", "text/plain; charset=utf-8", "see /"),
        ("POST", "/metrics", "405 Method Not Allowed", "text/plain; charset=utf-8", "GET"),
    ] {
        let (head, body) = agent.request(method, path);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{method} {path}: {head}");
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{method} {path}: {head}");
        assert!(body.contains(part), "{method} {path}: {body}");
    }
}

#[test]
fn a_scrape_of_a_new_agent_has_every_row_that_can_be_known() {
    let agent = Agent::start(&[]);
    let text = agent.metrics();
    let names: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in [
        "aa_monitor_build_info",
        "aa_monitor_event_latency_seconds",
        "aa_monitor_events_lost_total",
        "aa_monitor_events_received_total",
        "aa_monitor_series",
        "aa_monitor_series_dropped_total",
        "aa_monitor_series_limit",
        "aa_monitor_source_up",
        "apparmor_enabled",
        "apparmor_node_events_total",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    for name in &names {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    for row in ["denied\",class=\"file", "allowed\",class=\"capability", "killed\",class=\"other"] {
        assert!(text.contains(&format!("apparmor_node_events_total{{verdict=\"{row}\"}} ")), "{row}\n{text}");
    }
    promtool(&text);
}

/// `promtool check metrics`, where it is installed.
fn promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        eprintln!("promtool is not installed: the scrape is not checked by it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn clients_that_say_nothing_do_not_keep_prometheus_out() {
    let agent = Agent::start(&[]);
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(agent.address).unwrap()).collect();
    assert!(agent.metrics().contains("apparmor_enabled"));
    drop(silent);
}
