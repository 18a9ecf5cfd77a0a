use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::pod::Pod;
use super::*;

const PODS: &str = "/api/v1/pods";

/// One request; the status, the head and the body's reader.
fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head, reader)
}

/// One request that is answered with an object.
fn ask(server: &ApiServer, method: &str, path: &str, body: &str) -> (u16, Value) {
    let headers = "Connection: close\r\nContent-Type: application/merge-patch+json\r\n";
    let (status, _, mut reader) = send(server, method, path, headers, body);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

/// The next line of a watch: its type, and the version of its object. None at the end.
fn next(reader: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut size = String::new();
    reader.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut line = vec![0; size + 2];
    reader.read_exact(&mut line).ok()?;
    let mut event: Value = serde_json::from_slice(&line).unwrap();
    Some((event["type"].as_str().unwrap().to_owned(), event["object"].take()))
}

fn pod(name: &str) -> Value {
    Pod::new("default", name, name).container("app", &"a".repeat(64)).json()
}

#[test]
fn a_list_is_what_the_selector_selects() {
    let server = ApiServer::start().unwrap();
    server.apply(&Resource::PODS, pod("a"));
    server.apply(&Resource::PODS, Pod::new("kube-system", "b", "b").on("node-2").json());
    for (query, want) in [
        ("", vec!["a", "b"]),
        ("?fieldSelector=spec.nodeName%3Dnode-1", vec!["a"]),
        ("?fieldSelector=spec.nodeName%21%3Dnode-1", vec!["b"]),
        ("?fieldSelector=spec.nodeName=node-1,metadata.name=b", vec![]),
    ] {
        let (status, list) = ask(&server, "GET", &format!("{PODS}{query}"), "");
        let names: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["name"].clone()).collect();
        assert_eq!((status, names), (200, want.into_iter().map(Value::from).collect()), "{query}");
        assert_eq!((&list["kind"], &list["metadata"]["resourceVersion"]), (&json!("PodList"), &json!("2")));
    }
    assert_eq!(ask(&server, "GET", &format!("{PODS}?fieldSelector=spec.hostname=x"), "").0, 400);
    let (_, kubelets) = ask(&server, "GET", "/pods", "");
    assert_eq!(kubelets["items"].as_array().unwrap().len(), 2);
    assert_eq!(server.count(Verb::List, &Resource::PODS), 5);
    assert_eq!(server.requests()[1].parameter("fieldSelector"), "spec.nodeName=node-1");
}

#[test]
fn pieces_of_a_list_are_whole_together_and_expire() {
    let server = ApiServer::start().unwrap();
    for name in ["a", "b", "c"] {
        server.apply(&Resource::PODS, pod(name));
    }
    let (_, first) = ask(&server, "GET", &format!("{PODS}?limit=2"), "");
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = format!("{PODS}?limit=2&continue={token}");
    let (_, second) = ask(&server, "GET", &rest, "");
    assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 1));
    assert_eq!(second["metadata"]["continue"], Value::Null);
    let (_, cached) = ask(&server, "GET", &format!("{PODS}?limit=2&resourceVersion=0"), "");
    assert_eq!(cached["items"].as_array().unwrap().len(), 3, "the cache knows no limit");
    server.compact();
    assert_eq!(ask(&server, "GET", &rest, "").0, 410);
}

#[test]
fn a_watch_tells_what_changes_for_its_selector() {
    let server = ApiServer::start().unwrap();
    let version = server.apply(&Resource::PODS, pod("a"));
    let path = format!(
        "{PODS}?watch=1&resourceVersion={version}&fieldSelector=spec.nodeName=node-1&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let (status, _, mut reader) = send(&server, "GET", &path, "", "");
    assert_eq!(status, 200);
    server.apply(&Resource::NODES, json!({ "metadata": { "name": "node-1" } }));
    server.apply(&Resource::PODS, pod("b"));
    server.apply(&Resource::PODS, Pod::new("default", "b", "b").on("node-2").json());
    server.apply(&Resource::PODS, pod("b"));
    server.apply(&Resource::PODS, pod("b"));
    server.delete(&Resource::PODS, "default", "b");
    let mut told = Vec::new();
    while let Some((kind, object)) = next(&mut reader) {
        told.push((kind, object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()));
    }
    let want = [
        ("ADDED", "3"),
        ("DELETED", "4"),
        ("ADDED", "5"),
        ("MODIFIED", "6"),
        ("DELETED", "7"),
        ("BOOKMARK", "7"),
    ];
    assert_eq!(told, want.map(|(kind, version)| (kind.to_owned(), version.to_owned())));
}

#[test]
fn an_expired_version_is_told_in_either_way() {
    let server = ApiServer::start().unwrap();
    let version = server.apply(&Resource::PODS, pod("a"));
    let path = format!("{PODS}?watch=true&resourceVersion={version}");
    let (status, _, mut open) = send(&server, "GET", &path, "", "");
    assert_eq!(status, 200);
    server.compact();
    server.apply(&Resource::PODS, pod("b"));
    let (kind, object) = next(&mut open).unwrap();
    assert_eq!((kind.as_str(), &object["code"]), ("ERROR", &json!(410)));
    assert_eq!(next(&mut open), None);
    let (status, _, mut late) = send(&server, "GET", &path, "", "");
    assert_eq!((status, next(&mut late).unwrap().0.as_str()), (200, "ERROR"));
    server.tell_gone_as_status(true);
    assert_eq!(send(&server, "GET", &path, "", "").0, 410);
}

#[test]
fn faults_happen_to_whom_they_are_meant_for_and_as_often() {
    let server = ApiServer::start().unwrap();
    let refuse = Action::Refuse { status: 429, retry_after: Some(7) };
    server.fault(Fault::on(Verb::List, Resource::PODS, refuse).times(1));
    server.fault(Fault::on(Verb::List, Resource::NODES, Action::Disconnect));
    let (status, head, _) = send(&server, "GET", PODS, "Connection: close\r\n", "");
    assert!(status == 429 && head.contains("retry-after: 7"), "{head}");
    assert_eq!(ask(&server, "GET", PODS, "").0, 200, "once was enough");
    assert_eq!(send(&server, "GET", "/api/v1/nodes", "", "").0, 0, "no answer at all");
    server.heal();
    assert_eq!(ask(&server, "GET", "/api/v1/nodes", "").0, 200);
    assert_eq!(ask(&server, "POST", "/_faults", r#"{"verb":"list","plural":"pods","status":403}"#).0, 200);
    assert_eq!(ask(&server, "POST", "/_faults", r#"{"verb":"lst","status":403}"#).0, 400);
    let (status, refusal) = ask(&server, "GET", PODS, "");
    assert!(status == 403 && refusal["message"].as_str().unwrap().contains("cannot list resource \"pods\""));
    let statuses: Vec<_> = server.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [429, 200, 0, 200, 403]);
}

#[test]
fn writes_are_merged_refused_and_versioned() {
    let server = ApiServer::start().unwrap();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = r#"{"metadata":{"name":"e"},"note":"a","series":{"count":2}}"#;
    let (status, created) = ask(&server, "POST", leases, lease);
    assert_eq!(
        (status, &created["apiVersion"], &created["kind"]),
        (201, &json!("coordination.k8s.io/v1"), &json!("Lease"))
    );
    assert_eq!(ask(&server, "POST", leases, lease).0, 409);
    let one = format!("{leases}/e");
    let (status, patched) = ask(&server, "PATCH", &one, r#"{"series":{"count":3},"note":null}"#);
    assert_eq!((status, &patched["series"], patched.get("note")), (200, &json!({ "count": 3 }), None));
    let stale = r#"{"metadata":{"resourceVersion":"1"},"note":"b"}"#;
    assert_eq!(ask(&server, "PATCH", &one, stale).0, 409);
    assert_eq!(ask(&server, "PATCH", &one, r#"{"metadata":{"uid":"x"}}"#).0, 422);
    assert_eq!(ask(&server, "DELETE", &one, "").0, 200);
    assert_eq!(ask(&server, "PATCH", &one, "{}").0, 404);
    let stored = server.requests().into_iter().find_map(|request| request.resource).expect("a request");
    assert_eq!(server.all(&stored), Vec::<Value>::new());
}

#[test]
fn only_the_right_token_opens_and_an_absent_server_is_absent() {
    let server = ApiServer::start().unwrap();
    server.require_token(Some("right"));
    for (token, want) in [("wrong", 401), ("right", 200)] {
        let headers = format!("Connection: close\r\nAuthorization: Bearer {token}\r\n");
        assert_eq!(send(&server, "GET", PODS, &headers, "").0, want, "{token}");
    }
    server.require_token(None);
    server.present(false);
    while TcpStream::connect(server.address()).is_ok() {
        std::thread::yield_now();
    }
    server.present(true);
    while TcpStream::connect(server.address()).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(ask(&server, "GET", PODS, "").0, 200);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_the_callers_clock_is_an_hour() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = ApiServer::spawn().unwrap();
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let path = format!("{PODS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=3600");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let began = tokio::time::Instant::now();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 3600);
    assert!((59..=61).contains(&text.matches("BOOKMARK").count()), "{text}");
}
