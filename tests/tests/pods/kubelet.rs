//! The kubelet instead of the API server: asked once a minute, and when somebody misses a container.

use std::sync::Arc;
use std::time::Duration;

use aa_monitor::identity::pods::index::Named;
use aa_monitor::identity::pods::{Options, Pods, Source, start};
use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Resource, Verb};
use tokio::time::{Instant, sleep};

use crate::id;

fn node() -> (ApiServer, Arc<Pods>) {
    let server = ApiServer::spawn().expect("a port");
    let pods = start(Options {
        source: Some(Source::Kubelet),
        node_name: Some("node-1".into()),
        kubelet_url: Some(server.url()),
        ..Options::default()
    });
    (server, pods)
}

fn name(pods: &Pods, letter: char) -> Option<String> {
    match pods.find(&id(letter), None)? {
        Named::Fully(container) => Some(container.name.to_string()),
        Named::ByPod(_) => None,
    }
}

async fn until(pods: &Pods, letter: char) {
    let mut changed = pods.changed();
    while name(pods, letter).is_none() {
        changed.changed().await.expect("the pods are there");
    }
}

fn pod(letter: char) -> serde_json::Value {
    Pod::new("shop", &format!("pod-{letter}"), &letter.to_string()).container("app", &id(letter)).json()
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_once_a_minute_and_for_nothing_else() {
    let (server, pods) = node();
    server.apply(&Resource::PODS, pod('a'));
    until(&pods, 'a').await;
    assert!(pods.up() && pods.synced());
    sleep(Duration::from_secs(3_600)).await;
    let asked = server.count(Verb::List, &Resource::KUBELET_PODS);
    assert!((50..=61).contains(&asked), "{asked}");
    assert_eq!(server.requests().len(), asked);
    server.delete(&Resource::PODS, "shop", "pod-a");
    sleep(Duration::from_secs(70)).await;
    assert_eq!((pods.present(), name(&pods, 'a')), (0, Some("app".into())), "gone, and still known");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_missed_is_asked_for_soon_but_not_in_a_storm() {
    let (server, pods) = node();
    until_up(&pods).await;
    sleep(Duration::from_secs(10)).await;
    server.apply(&Resource::PODS, pod('a'));
    let missed = Instant::now();
    pods.missed();
    until(&pods, 'a').await;
    assert!(missed.elapsed() <= Duration::from_secs(2), "{:?}", missed.elapsed());
    let before = server.requests().len();
    for _ in 0..1_000 {
        pods.missed();
        sleep(Duration::from_millis(20)).await;
    }
    let asked = server.requests().len() - before;
    assert!((8..=12).contains(&asked), "{asked} times in twenty seconds");
}

async fn until_up(pods: &Pods) {
    let mut changed = pods.changed();
    while !pods.up() {
        changed.changed().await.expect("the pods are there");
        // The state follows what is known.
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_refuses_is_left_alone_more_and_more() {
    for status in [401, 403, 500] {
        let (server, pods) = node();
        server.fault(Fault::on(
            Verb::List,
            Resource::KUBELET_PODS,
            Action::Refuse { status, retry_after: None },
        ));
        server.apply(&Resource::PODS, pod('a'));
        sleep(Duration::from_secs(600)).await;
        let asked = server.requests().len();
        assert!((8..=30).contains(&asked) && !pods.up(), "{status}: {asked}");
        server.heal();
        until(&pods, 'a').await;
    }
}
