//! What goes wrong, and that the names come all the same, without a storm of requests.

use std::time::Duration;

use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{Action, Fault, Resource, Verb};
use tokio::time::{Instant, sleep};

use crate::{Cluster, id};

fn pod(letter: char) -> serde_json::Value {
    Pod::new("shop", &format!("pod-{letter}"), &letter.to_string()).container("app", &id(letter)).json()
}

fn named(letter: char) -> String {
    format!("shop/pod-{letter}/pod-{letter}/app")
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_is_tried_again_ever_less_often_and_works_in_the_end() {
    let refuse = |status| Action::Refuse { status, retry_after: None };
    for (name, action) in [
        ("401", refuse(401)),
        ("403", refuse(403)),
        ("404", refuse(404)),
        ("409", refuse(409)),
        ("429", refuse(429)),
        ("500", refuse(500)),
        ("503", refuse(503)),
        ("no answer", Action::Hang),
        ("cut off", Action::Disconnect),
        ("no JSON", Action::Garbage("<html>".into())),
        ("no list", Action::Garbage("[]".into())),
    ] {
        let cluster = Cluster::new();
        cluster.server.fault(Fault::on(Verb::List, Resource::PODS, action));
        cluster.server.apply(&Resource::PODS, pod('a'));
        sleep(Duration::from_secs(600)).await;
        let tries = cluster.server.count(Verb::List, &Resource::PODS);
        // Half a second, doubled up to a minute, half of it by chance: 8 to 30 in ten minutes.
        assert!((6..=30).contains(&tries), "{name}: {tries}");
        assert_eq!(cluster.server.requests().len(), tries, "{name}: nothing else is asked");
        assert!(!cluster.pods.up() && !cluster.pods.synced(), "{name}");
        // The last of them may still be under way.
        assert!((tries - 1..=tries).contains(&(cluster.pods.failures() as usize)), "{name}");
        cluster.server.heal();
        cluster.until('a', "", &named('a')).await;
        assert!(cluster.pods.up() && cluster.pods.synced(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_refused_is_no_reason_to_list_again() {
    for status in [401, 403, 429, 500] {
        let cluster = Cluster::new();
        cluster.server.fault(Fault::on(
            Verb::Watch,
            Resource::PODS,
            Action::Refuse { status, retry_after: None },
        ));
        cluster.server.apply(&Resource::PODS, pod('a'));
        cluster.until('a', "", &named('a')).await;
        sleep(Duration::from_secs(300)).await;
        assert!(!cluster.pods.up(), "{status}");
        assert!(cluster.server.count(Verb::Watch, &Resource::PODS) <= 20, "{status}");
        cluster.server.apply(&Resource::PODS, pod('b'));
        cluster.server.heal();
        cluster.until('b', "", &named('b')).await;
        assert_eq!(cluster.server.count(Verb::List, &Resource::PODS), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_stay_away_stays_away() {
    for status in [429, 503] {
        let cluster = Cluster::new();
        let refuse = Action::Refuse { status, retry_after: Some(45) };
        cluster.server.fault(Fault::on(Verb::List, Resource::PODS, refuse).times(1));
        cluster.server.apply(&Resource::PODS, pod('a'));
        cluster.until('a', "", &named('a')).await;
        let requests = cluster.server.requests();
        let [first, second, ..] = &*requests else { panic!("{requests:?}") };
        let away = second.at - first.at;
        assert!((45..47).contains(&away.as_secs()), "{status}: {away:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_found_when_it_comes_back() {
    let cluster = Cluster::new();
    cluster.server.apply(&Resource::PODS, pod('a'));
    cluster.server.present(false);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!((cluster.server.requests().len(), cluster.name('a', "a")), (0, String::new()));
    assert!(!cluster.pods.worth_waiting(), "no event is to wait for a name");
    cluster.server.present(true);
    let back = Instant::now();
    cluster.until('a', "", &named('a')).await;
    assert!(back.elapsed() <= Duration::from_secs(61), "{:?}", back.elapsed());
    // What is known stays known while it is away again, and what was missed is told after.
    cluster.server.present(false);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(cluster.name('a', ""), named('a'));
    cluster.server.apply(&Resource::PODS, pod('b'));
    cluster.server.present(true);
    cluster.until('b', "", &named('b')).await;
    assert_eq!(cluster.server.count(Verb::List, &Resource::PODS), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let cluster = Cluster::new();
    for letter in '0'..='7' {
        cluster.server.apply(&Resource::PODS, pod(letter));
        cluster.server.disconnect_watches();
        cluster.until(letter, "", &named(letter)).await;
    }
    cluster.server.delete(&Resource::PODS, "shop", "pod-0");
    cluster.server.disconnect_watches();
    cluster.server.apply(&Resource::PODS, pod('8'));
    cluster.until('8', "", &named('8')).await;
    assert_eq!(cluster.pods.snapshot().len(), 8, "the deletion came too");
    assert_eq!(cluster.server.count(Verb::List, &Resource::PODS), 1);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_is_answered_with_a_list_that_is_no_older() {
    for as_status in [false, true] {
        let cluster = Cluster::new();
        cluster.server.tell_gone_as_status(as_status);
        cluster.server.apply(&Resource::PODS, pod('a'));
        cluster.server.apply(&Resource::PODS, pod('b'));
        cluster.until('b', "", &named('b')).await;
        cluster.server.requests_until(|requests| requests.len() == 2).await;
        // While it is away, one goes, one comes, and the history is forgotten.
        cluster.server.present(false);
        cluster.server.delete(&Resource::PODS, "shop", "pod-a");
        cluster.server.apply(&Resource::PODS, pod('c'));
        cluster.server.compact();
        sleep(Duration::from_secs(5)).await;
        cluster.server.present(true);
        cluster.until('c', "", &named('c')).await;
        let mut left: Vec<_> = cluster.pods.snapshot().iter().map(|pod| pod.pod.name.to_string()).collect();
        left.sort();
        assert_eq!(left, ["pod-b", "pod-c"], "as status: {as_status}");
        assert_eq!(cluster.name('a', ""), named('a'), "gone, and still known");
        let lists: Vec<_> = cluster
            .server
            .requests()
            .into_iter()
            .filter(|request| request.is(Verb::List, &Resource::PODS))
            .collect();
        let versions: Vec<_> = lists.iter().map(|list| list.parameter("resourceVersion")).collect();
        assert_eq!(versions, ["0", "2"], "as status: {as_status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_tells_nonsense_is_not_believed_and_not_asked_in_a_loop() {
    for garbage in
        ["{\"type\":\"ADDED\",\"object\":7}\n", "<html>\n", "\n\n", "", "{\"type\":\"NEW\",\"object\":{}}\n"]
    {
        let cluster = Cluster::new();
        cluster.server.fault(Fault::on(Verb::Watch, Resource::PODS, Action::Garbage(garbage.into())));
        cluster.server.apply(&Resource::PODS, pod('a'));
        sleep(Duration::from_secs(300)).await;
        let watches = cluster.server.count(Verb::Watch, &Resource::PODS);
        assert!((4..=20).contains(&watches), "{garbage:?}: {watches}");
        cluster.server.apply(&Resource::PODS, pod('b'));
        cluster.server.heal();
        cluster.until('b', "", &named('b')).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_accepted_is_a_refusal() {
    let cluster = Cluster::with_token(Some("old"));
    cluster.server.require_token(Some("new"));
    let requests =
        cluster.server.requests_until(|requests| requests.iter().any(|request| request.status != 0)).await;
    let first = requests.first().expect("one");
    assert_eq!(
        (first.status, first.headers.get("authorization").map(String::as_str)),
        (401, Some("Bearer old"))
    );
    cluster.server.require_token(Some("old"));
    cluster.server.apply(&Resource::PODS, pod('a'));
    cluster.until('a', "", &named('a')).await;
}
