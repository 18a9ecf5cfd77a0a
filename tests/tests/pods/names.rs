//! What becomes known, and how long it stays so.

use std::time::Duration;

use aa_monitor_tests::apiserver::Resource;
use aa_monitor_tests::apiserver::pod::Pod;
use tokio::time::sleep;

use crate::{Cluster, id};

fn web() -> Pod {
    Pod::new("shop", "web-7d4b9c-x", "web-uid")
        .label("pod-template-hash", "7d4b9c")
        .owned_by("ReplicaSet", "web-7d4b9c")
}

#[tokio::test(start_paused = true)]
async fn containers_of_every_kind_are_named_with_their_workload() {
    let cluster = Cluster::new();
    let server = &cluster.server;
    server.apply(
        &Resource::PODS,
        web()
            .init_container("init", &id('a'))
            .container("app", &id('b'))
            .restarted_from(&id('c'))
            .ephemeral_container("debug", &id('d'))
            .json(),
    );
    server.apply(
        &Resource::PODS,
        Pod::new("shop", "elsewhere", "e").on("node-2").container("app", &id('e')).json(),
    );
    let hash = "0123456789abcdef0123456789abcdef";
    let etcd =
        Pod::new("kube-system", "etcd-node-1", "mirror").annotation("kubernetes.io/config.mirror", hash);
    server.apply(&Resource::PODS, etcd.owned_by("Node", "node-1").container("etcd", "").json());
    cluster.until('b', "", "shop/web/web-7d4b9c-x/app").await;
    for (letter, uid, want) in [
        ('a', "", "shop/web/web-7d4b9c-x/init"),
        ('c', "", "shop/web/web-7d4b9c-x/app"),
        ('d', "", "shop/web/web-7d4b9c-x/debug"),
        ('e', "e", ""),
        ('f', "web-uid", "shop/web/web-7d4b9c-x/"),
        ('f', hash, "kube-system/node-1/etcd-node-1/etcd"),
    ] {
        assert_eq!(cluster.name(letter, uid), want, "{letter}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_known_before_its_status_and_its_containers_after() {
    let cluster = Cluster::new();
    cluster.server.apply(&Resource::PODS, web().container("app", "").container("side", "").json());
    cluster.until('a', "web-uid", "shop/web/web-7d4b9c-x/").await;
    cluster
        .server
        .apply(&Resource::PODS, web().container("app", &id('a')).container("side", &id('b')).json());
    cluster.until('a', "web-uid", "shop/web/web-7d4b9c-x/app").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_or_replaced_is_known_for_ten_minutes() {
    let cluster = Cluster::new();
    let server = &cluster.server;
    server.apply(&Resource::PODS, web().container("app", &id('a')).json());
    server.apply(&Resource::PODS, Pod::new("shop", "job", "job-uid").container("run", &id('f')).json());
    cluster.until('a', "", "shop/web/web-7d4b9c-x/app").await;
    server.apply(&Resource::PODS, web().container("app", &id('b')).json());
    server.delete(&Resource::PODS, "shop", "job");
    cluster.until('b', "", "shop/web/web-7d4b9c-x/app").await;
    sleep(Duration::from_secs(590)).await;
    assert_eq!(cluster.name('a', ""), "shop/web/web-7d4b9c-x/app");
    assert_eq!(cluster.name('f', ""), "shop/job/job/run");
    // It is looked for twice a minute.
    sleep(Duration::from_secs(45)).await;
    assert_eq!((cluster.name('a', ""), cluster.name('f', "job-uid")), (String::new(), String::new()));
    assert_eq!(cluster.name('b', ""), "shop/web/web-7d4b9c-x/app");
}
