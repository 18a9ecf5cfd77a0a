//! What an agent costs the API server when nothing happens.

use std::time::Duration;

use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Resource, Verb};
use tokio::time::{Instant, sleep};

use crate::{Cluster, id};

#[tokio::test(start_paused = true)]
async fn an_hour_of_quiet_is_one_list_and_one_watch() {
    let cluster = Cluster::new();
    cluster.server.apply(&Resource::PODS, Pod::new("shop", "web", "u").container("app", &id('a')).json());
    cluster.until('a', "", "shop/web/web/app").await;
    sleep(Duration::from_secs(3_600)).await;
    let requests = cluster.server.requests();
    let [list, watch] = &*requests else { panic!("{requests:#?}") };
    assert!(list.is(Verb::List, &Resource::PODS) && watch.is(Verb::Watch, &Resource::PODS));
    for (request, parameter, want) in [
        (list, "fieldSelector", "spec.nodeName=node-1"),
        (list, "resourceVersion", "0"),
        (list, "limit", ""),
        (watch, "fieldSelector", "spec.nodeName=node-1"),
        (watch, "resourceVersion", "1"),
        (watch, "allowWatchBookmarks", "true"),
    ] {
        assert_eq!(request.parameter(parameter), want, "{parameter}");
    }
    // The watch is still the one that tells.
    cluster.server.apply(&Resource::PODS, Pod::new("shop", "web", "u").container("app", &id('b')).json());
    cluster.until('b', "", "shop/web/web/app").await;
    assert_eq!(cluster.server.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_in_time_goes_on_from_the_last_bookmark() {
    let cluster = Cluster::new();
    let other = Pod::new("shop", "other", "o").on("node-2");
    for _ in 0..24 {
        sleep(Duration::from_secs(1_800)).await;
        // Of another node: only bookmarks tell that time goes on.
        cluster.server.apply(&Resource::PODS, other.clone().json());
    }
    let requests = cluster.server.requests();
    let watches: Vec<_> =
        requests.iter().filter(|request| request.is(Verb::Watch, &Resource::PODS)).collect();
    assert_eq!(cluster.server.count(Verb::List, &Resource::PODS), 1);
    assert!((4..=6).contains(&watches.len()), "2 to 3 hours each: {}", watches.len());
    let versions: Vec<u64> =
        watches.iter().map(|watch| watch.parameter("resourceVersion").parse().unwrap()).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dead_is_found_out() {
    let cluster = Cluster::new();
    cluster.server.requests_until(|requests| requests.len() == 2).await;
    sleep(Duration::from_secs(120)).await;
    // What a router that forgot the connection looks like: no bookmark any more.
    cluster.server.bookmark_every(Duration::from_secs(1_000_000));
    cluster.server.disconnect_watches();
    cluster.server.requests_until(|requests| requests.len() == 3).await;
    let began = Instant::now();
    cluster.server.requests_until(|requests| requests.len() == 4).await;
    assert!((299..=310).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(cluster.server.count(Verb::List, &Resource::PODS), 1);
}
