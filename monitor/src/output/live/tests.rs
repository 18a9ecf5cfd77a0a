use std::time::Duration;

use bumpalo::Bump;

use super::client::Answer;
use super::told::{Marks, Told};
use super::*;
use crate::capture::{SilentDenial, SilentReason};
use crate::identity::{Container, How, Identity, Pod};
use crate::merge::SeenBy;
use crate::output::SILENT;
use crate::output::history::Evidence;
use crate::record::{Class, Log, Origin, Senders, Violation, parse_line};

fn observe(live: &Live, history: &History, profile: &str, name: &str) {
    let line = format!(
        r#"audit: type=1400 audit(5.000:1): apparmor="ALLOWED" operation="open" profile="{profile}" name={name} pid=1 comm=1B5B324A denied_mask="r""#
    );
    let arena = Bump::new();
    let violation = parse_line(line.as_bytes(), Origin::File, &Senders::by_program(), &arena).unwrap();
    let event = Event::unresolved(violation, SeenBy::default());
    history.observe(&event);
    live.observe(&event);
}

fn silent(profile: &[u8], reason: SilentReason, count: u64) -> SilentDenial {
    SilentDenial {
        class: Class::File,
        operation: b"open".to_vec(),
        profile: profile.to_vec(),
        namespace: Vec::new(),
        example: b"/b".to_vec(),
        capability: None,
        cgroup_id: 1,
        reason,
        count,
        read: std::time::UNIX_EPOCH + Duration::from_secs(5),
    }
}

fn of_container() -> Identity {
    let pod = Pod { namespace: "shop".into(), name: "web-1".into(), ..Pod::default() };
    let container =
        Container { id: "0123".into(), name: "app".into(), pod: Some(pod.into()), ..Default::default() };
    Identity { container: Some(container.into()), how: How::Cgroup, own: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_record_is_told_beside_events_and_as_none_of_them() {
    let served = Served::start();
    observe(&served.live, &served.history, "p", "\"/a\"");
    let mut denial = silent(b"p\x1b[2J", SilentReason::QuietRule, 3);
    served.live.observe_unrecorded(&Unrecorded { denial: &denial, subject: &of_container() });
    (denial.operation, denial.example, denial.capability) = (Vec::new(), Vec::new(), Some(21));
    (denial.class, denial.reason) = (Class::Capability, SilentReason::Capability);
    let host = Identity { container: None, how: How::Host, own: false };
    served.live.observe_unrecorded(&Unrecorded { denial: &denial, subject: &host });
    for (verdict, want) in [("silent", 2), ("allowed", 1), ("denied", 0)] {
        let filter = Filter { verdict: vec![verdict.into()], ..Filter::default() };
        let lines = served.ask(tail(9, false, filter)).await.unwrap().unwrap();
        assert_eq!(lines.len(), want + 1, "{verdict}, and the end");
    }
    let filter = Filter { verdict: vec![SILENT.into()], ..Filter::default() };
    let lines = served.ask(tail(9, false, filter)).await.unwrap().unwrap();
    let told: Vec<serde_json::Value> =
        lines.iter().take(2).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        told[0]["shown"],
        "1970-01-01T00:00:05.000Z silent  file       p\\x1b[2J shop/web-1/app - open /b [quiet_rule, 3 times]"
    );
    assert_eq!(
        told[1]["shown"],
        "1970-01-01T00:00:05.000Z silent  capability p\\x1b[2J - - sys_admin [capability_quiet_or_cached, 3 times]"
    );
    for (at, key, want) in [
        (0, "reason", "\"quiet_rule\""),
        (0, "count", "3"),
        (0, "name", "\"/b\""),
        (0, "identified_by", "\"cgroup\""),
        (1, "capname", "\"sys_admin\""),
        (1, "operation", "null"),
        (1, "verdict", "\"silent\""),
    ] {
        assert_eq!(told[at]["event"][key].to_string(), want, "{at} {key}");
    }
    assert_eq!(served.history.evidence().len(), 1, "no event, so nothing to suggest a rule from");
}

struct Served {
    live: Arc<Live>,
    history: Arc<History>,
    folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = Arc::new(History::in_memory());
        let live = Arc::new(Live::new(Arc::clone(&history)));
        let listener = bind(&folder.path().join("s")).unwrap();
        tokio::spawn(serve(listener, Arc::clone(&live)));
        Self { live, history, folder }
    }

    fn ask(&self, ask: Ask) -> tokio::task::JoinHandle<anyhow::Result<Vec<String>>> {
        let socket = self.folder.path().join("s");
        tokio::task::spawn_blocking(move || {
            let mut answer = Answer::ask(&socket, &ask)?;
            let mut lines = Vec::new();
            while let Some(line) = answer.line()? {
                lines.push(String::from_utf8(line)?);
                if lines.last().is_some_and(|line| line.contains("\"end\"") || line.contains("/stop")) {
                    break;
                }
            }
            Ok(lines)
        })
    }
}

fn tail(last: usize, follow: bool, filter: Filter) -> Ask {
    Ask::Tail { last, follow, filter }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_the_last_events_and_those_to_come() {
    let served = Served::start();
    for name in ["\"/a\"", "\"/b\"", "\"/c\""] {
        observe(&served.live, &served.history, "p", name);
    }
    observe(&served.live, &served.history, "q", "\"/d\"");
    let filter = Filter { profile: vec!["p*".into()], ..Filter::default() };
    let reader = served.ask(tail(2, true, filter));
    while served.live.sender.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    observe(&served.live, &served.history, "q", "\"/e\"");
    observe(&served.live, &served.history, "p", "\"/stop\"");
    let lines = reader.await.unwrap().unwrap();
    let names: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"]["name"].clone())
        .collect();
    assert_eq!(names, ["/b", "/c", "/stop"]);
    for line in &lines {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "nothing acts: {line}");
        let shown =
            serde_json::from_str::<serde_json::Value>(line).unwrap()["shown"].as_str().unwrap().to_owned();
        assert!(shown.contains("\\x1b[2J"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_and_status_are_told() {
    let served = Served::start();
    observe(&served.live, &served.history, "p", "\"/a\"");
    let silent = |profile: &[u8], reason, count| {
        let denial = silent(profile, reason, count);
        served.live.observe_unrecorded(&Unrecorded { denial: &denial, subject: &of_container() });
    };
    silent(b"p", SilentReason::QuietRule, 3);
    silent(b"p", SilentReason::AuditMode, 4);
    silent(b"p", SilentReason::QuietRule, 1);
    silent(b"unheard-of", SilentReason::QuietRule, 5);
    let lines = served.ask(Ask::Evidence).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Evidence>(&lines[0]).unwrap(), served.history.evidence()[0]);
    assert_eq!(lines.len(), 2);
    let lines = served.ask(Ask::Status).await.unwrap().unwrap();
    let status: Status = serde_json::from_str(&lines[0]).unwrap();
    let profile = |name: &str| status.profiles.iter().find(|profile| profile.profile == name).unwrap();
    let (p, unheard) = (profile("p"), profile("unheard-of"));
    assert_eq!((p.would_deny, p.denied, p.silent, p.distinct), (1, 0, 8, 1));
    let [container] = &status.containers[..] else { panic!("{:?}", status.containers) };
    assert_eq!((&*container.container, container.denied, container.silent), ("app", 0, 13));
    let rows: Vec<_> = status
        .silent
        .iter()
        .map(|row| (&*row.profile, &*row.who, &*row.what, &*row.reason, row.count))
        .collect();
    assert_eq!(
        rows,
        [
            ("p", "shop/web-1/app", "open /b", "audit_mode", 4),
            ("p", "shop/web-1/app", "open /b", "quiet_rule", 4),
            ("unheard-of", "shop/web-1/app", "open /b", "quiet_rule", 5),
        ]
    );
    assert_eq!((unheard.would_deny, unheard.denied, unheard.silent), (0, 0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_bounded_and_each_refusal_is_counted() {
    let served = Served::start();
    let readers: Vec<_> = (0..16).map(|_| served.ask(tail(0, true, Filter::default()))).collect();
    while served.live.sender.receiver_count() < 16 {
        tokio::task::yield_now().await;
    }
    let error = served.ask(Ask::Status).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("too many readers"), "{error:#}");
    assert_eq!(served.live.refused_total(), 1);
    observe(&served.live, &served.history, "p", "\"/stop\"");
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().len(), 1);
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let history = Arc::new(History::in_memory());
    let live = Live::new(Arc::clone(&history));
    let long = format!("\"/{}\"", "x".repeat(20_000));
    for _ in 0..RECENT + 100 {
        observe(&live, &history, "p", &long);
    }
    let recent = live.recent.lock().unwrap();
    assert!(recent.events.len() < RECENT && recent.bytes <= RECENT_BYTES);
    assert!(recent.bytes > RECENT_BYTES - 25_000, "no more is given up than has to be: {}", recent.bytes);
    assert_eq!(recent.bytes, recent.events.iter().map(|kept| kept.size()).sum::<usize>());
}

/// What is kept says the same as what is rendered at once.
#[test]
fn an_event_that_was_kept_is_told_as_it_was() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/records");
    let (subject, mut told) = (of_container(), 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let mut each = |_: &[u8], result: Result<&Violation<'_>, _>| {
            let Ok(violation) = result else { return };
            for peer in [None, Some(&subject)] {
                let event = Event { violation, seen_by: SeenBy::LOG, subject: &subject, peer };
                let (kept, rendered) = (Kept::event(&event), Told::event(&event).unwrap());
                assert_eq!(kept.line().unwrap(), rendered.line());
                let marks = |marks: &Marks| format!("{marks:?}") == format!("{:?}", rendered.marks());
                assert!(kept.passes(marks));
                told += 1;
            }
        };
        let mut log = Log::new(Origin::File, Senders::by_program());
        log.feed(&std::fs::read(path).unwrap(), &mut each);
        log.finish(&mut each);
    }
    assert!(told > 200, "the corpus is there: {told}");
}

#[tokio::test]
async fn a_socket_that_is_listened_at_is_left_alone_and_a_stale_one_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/s");
    let first = bind(&path).unwrap();
    assert_eq!(bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    let _second = bind(&path).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_ends() {
    use std::io::{Read, Write};
    let served = Served::start();
    for question in ["nonsense\n", "{\"version\":99,\"ask\":\"status\"}\n", "{}\n"] {
        let socket = served.folder.path().join("s");
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(question.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.await.unwrap().contains("\"error\""), "{question}");
    }
}
