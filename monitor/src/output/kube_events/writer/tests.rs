use std::sync::Arc;
use std::time::{Duration, Instant};

use aa_monitor_tests::apiserver::{Action, ApiServer, Fault, Request as Asked, Resource, Verb};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;
use crate::capture::Source;
use crate::identity::{Container, How, Identity, Pod};
use crate::merge::{self, SeenBy};
use crate::output::kube_events::{KubeEventsChoice, Tally};
use crate::record::{Class, Origin, Verdict, Violation};

const MINUTE: Duration = Duration::from_secs(60);

/// A writer against the fake API server, on a clock that does not wait.
struct Lab {
    server: ApiServer,
    events: Arc<KubeEvents>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    provoked: u64,
}

impl Lab {
    fn new() -> Self {
        let server = ApiServer::spawn().unwrap();
        let mut config = kube::Config::new(server.url().parse().unwrap());
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let events = Arc::new(KubeEvents::new(KubeEventsChoice::Denied));
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&events).write(client, "node-1".to_owned(), stop.clone()));
        Self { server, events, stop, task, provoked: 0 }
    }

    /// A denial in a pod.
    fn deny(&mut self, pod: &str, operation: &str) {
        self.provoked += 1;
        let pod = Pod {
            uid: format!("uid-of-{pod}").into(),
            namespace: "shop".into(),
            name: pod.into(),
            ..Pod::default()
        };
        let container = Container { name: "web".into(), pod: Some(Arc::new(pod)), ..Container::default() };
        let subject = Identity { container: Some(Arc::new(container)), how: How::Cgroup, own: false };
        let mut violation = Violation::new(Verdict::Denied, Class::File, Origin::Ebpf, operation.as_bytes());
        violation.profile = Some(b"web");
        violation.name = Some(b"/etc/shadow");
        let seen_by = SeenBy::only(Source::Ebpf);
        self.events.observe(&merge::Event { violation: &violation, seen_by, subject: &subject, peer: None });
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn stored(&self) -> Vec<Value> {
        self.server.all(&Resource::EVENTS)
    }

    /// What the Events in the API server count together.
    fn told(&self) -> u64 {
        self.stored().iter().map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum()
    }

    fn writes(&self) -> Vec<Asked> {
        self.server.requests()
    }

    fn check_sum(&self) {
        let Tally { created, counted, suppressed, refused } = self.events.tally();
        assert_eq!(created + counted + suppressed + refused, self.provoked, "{:?}", self.events.tally());
        assert_eq!(self.told() + suppressed + refused, self.provoked);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_denials_of_fifty_pods_are_told_within_the_budgets() {
    let mut lab = Lab::new();
    let operations = ["open", "exec", "mknod"];
    for number in 0..10_000 {
        lab.deny(&format!("pod-{}", number % 50), operations[number / 50 % 3]);
        lab.pass(Duration::from_millis(6)).await;
    }
    assert!(lab.writes().len() <= 11, "{} writes in a minute", lab.writes().len());
    lab.pass(60 * MINUTE).await;
    assert!(lab.writes().len() <= 10 + 61, "{} writes in an hour", lab.writes().len());
    let refused: Vec<_> = lab.writes().into_iter().filter(|write| write.status >= 300).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(lab.stored().len(), 10);
    lab.check_sum();
}

#[tokio::test(start_paused = true)]
async fn an_event_is_created_and_only_its_series_changes() {
    let mut lab = Lab::new();
    lab.deny("web-0", "open");
    lab.pass(MINUTE).await;
    let [event] = &lab.stored()[..] else { panic!("{:?}", lab.stored()) };
    assert_eq!(event["reason"], "AppArmorDenied");
    assert_eq!(event["regarding"]["fieldPath"], "spec.containers{web}");
    assert_eq!(event["note"], "AppArmor profile \"web\" denied file open: /etc/shadow");
    assert_eq!(event["reportingInstance"], "aa-monitor-node-1");
    for _ in 0..4 {
        lab.deny("web-0", "open");
        lab.pass(MINUTE).await;
    }
    assert_eq!(lab.told(), 2, "the second sighting");
    lab.pass(6 * MINUTE).await;
    assert_eq!((lab.told(), lab.stored().len(), lab.writes().len()), (5, 1, 3), "the end");
    lab.check_sum();
}

#[tokio::test(start_paused = true)]
async fn bad_days_lose_no_count() {
    use Action::{Delay, Disconnect, Garbage, Hang, Refuse};
    let refuse = |status, retry_after| Refuse { status, retry_after };
    for (name, action, times, least_pause) in [
        ("asked to wait", refuse(429, Some(90)), 1, 90),
        ("asked to wait, not how long", refuse(429, None), 3, 1 + 2 + 4),
        ("starting", refuse(503, Some(5)), 2, 10),
        ("broken", refuse(500, None), 4, 15),
        ("no longer authorised", refuse(401, None), 1, 300),
        ("not permitted", refuse(403, None), 2, 600),
        ("conflict", refuse(409, None), 1, 1),
        ("away", Disconnect, 3, 7),
        ("slow", Delay(Duration::from_secs(8)), 2, 0),
        ("silent", Hang, 2, 20),
        ("talks nonsense", Garbage("<html>".into()), 1, 0),
    ] {
        let mut lab = Lab::new();
        let nonsense = action == Garbage("<html>".into());
        lab.server.fault(Fault::every(action).times(times));
        let start = Instant::now();
        lab.deny("web-0", "open");
        lab.deny("web-0", "open");
        lab.pass(30 * MINUTE).await;
        assert!(start.elapsed() < MINUTE, "{name}: the clock is not the machine's");
        if nonsense {
            // A 200 is believed; what the nonsense did not store is found missing at the patch.
            assert_eq!(lab.events.tally().created, 1, "{name}");
            continue;
        }
        let writes = lab.writes();
        let (first, last) = (writes.first().unwrap().at, writes.last().unwrap().at);
        assert!(last - first >= Duration::from_secs(least_pause), "{name}: {:?}", last - first);
        assert!(writes.len() <= times as usize + 2, "{name}: {} requests", writes.len());
        assert_eq!(lab.told(), 2, "{name}: {:?}", lab.stored());
        lab.check_sum();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_somebody_deleted_is_created_anew() {
    let mut lab = Lab::new();
    for _ in 0..2 {
        lab.deny("web-0", "open");
        lab.pass(MINUTE).await;
    }
    let name = lab.stored()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(lab.server.delete(&Resource::EVENTS, "shop", &name));
    for _ in 0..3 {
        lab.deny("web-0", "open");
    }
    lab.pass(10 * MINUTE).await;
    assert_eq!(lab.told(), 3, "what the deleted one had not told");
    assert_ne!(lab.stored()[0]["metadata"]["name"], name.as_str());
    assert_eq!(lab.writes().iter().filter(|write| write.status == 404).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_makes_no_second_event() {
    let mut lab = Lab::new();
    // The creation is heard, and takes longer than anybody waits.
    lab.server
        .fault(Fault::on(Verb::Create, Resource::EVENTS, Action::Delay(Duration::from_secs(11))).times(1));
    lab.deny("web-0", "open");
    lab.pass(10 * MINUTE).await;
    assert_eq!(lab.stored().len(), 1);
    lab.check_sum();
}

#[tokio::test(start_paused = true)]
async fn when_the_agent_ends_the_last_counts_are_told() {
    let mut lab = Lab::new();
    for _ in 0..9 {
        lab.deny("web-0", "open");
        lab.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(lab.told(), 2);
    lab.stop.cancel();
    (&mut lab.task).await.unwrap();
    assert_eq!(lab.told(), 9);
    lab.check_sum();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_for_what_has_no_pod() {
    let lab = Lab::new();
    let violation = Violation::new(Verdict::Denied, Class::File, Origin::Ebpf, b"open");
    lab.events.observe(&merge::Event::unresolved(&violation, SeenBy::only(Source::Ebpf)));
    lab.pass(MINUTE).await;
    assert!(lab.writes().is_empty());
    assert_eq!(lab.events.tally(), Tally::default());
}

#[test]
fn an_answer_is_judged_by_what_can_be_done_about_it() {
    let status = |reason: &str, message: &str| {
        format!(
            r#"{{"kind":"Status","status":"Failure","reason":"{reason}","message":"{message}","code":1}}"#
        )
    };
    let asked = r#"{"kind":"Status","details":{"retryAfterSeconds":9}}"#;
    for (name, code, header, body, want) in [
        ("created", 201, None, String::new(), Outcome::Done),
        ("patched", 200, None, String::new(), Outcome::Done),
        ("token too old", 401, None, status("Unauthorized", ""), Outcome::Forbidden),
        ("no such verb", 403, None, status("Forbidden", "cannot create"), Outcome::Forbidden),
        (
            "namespace ends",
            403,
            None,
            status("Forbidden", "namespace a is being terminated"),
            Outcome::Refused,
        ),
        ("gone", 404, None, status("NotFound", ""), Outcome::Gone),
        ("exists", 409, None, status("AlreadyExists", ""), Outcome::Exists),
        ("conflict", 409, None, status("Conflict", ""), Outcome::Failed),
        ("invalid", 422, None, status("Invalid", ""), Outcome::Refused),
        (
            "priority and fairness, plain text",
            429,
            Some("3"),
            "Too many requests, please try again later.".into(),
            Outcome::Later(Duration::from_secs(3)),
        ),
        ("told in the body", 429, None, asked.into(), Outcome::Later(Duration::from_secs(9))),
        ("not told when", 429, None, String::new(), Outcome::Failed),
        ("a date is not said by API servers", 429, Some("Mon"), String::new(), Outcome::Failed),
        ("starting", 503, Some("1"), String::new(), Outcome::Later(Duration::from_secs(1))),
        ("broken", 500, None, "<html>".into(), Outcome::Failed),
        ("a proxy in between", 302, None, String::new(), Outcome::Failed),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(RETRY_AFTER, header.parse().unwrap());
        }
        let status = StatusCode::from_u16(code).unwrap();
        assert_eq!(judge(status, &headers, body.as_bytes()), want, "{name}");
    }
}
