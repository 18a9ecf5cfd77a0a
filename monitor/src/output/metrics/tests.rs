use std::collections::{BTreeMap, BTreeSet};

use super::reference::METRICS;
use super::*;
use crate::capture::{SilentDenial, SilentReason};
use crate::identity::{Container, How, Identity, Pod};
use crate::ledger::{Attached, Hook, Loss};
use crate::merge::SeenBy;
use crate::record::Violation;

fn metrics(limit: usize) -> Metrics {
    Metrics::new(Arc::new(Ledger::default()), limit).unwrap()
}

fn denial<'a>(operation: &'a [u8], profile: &'a [u8]) -> Violation<'a> {
    let mut violation = Violation::new(Verdict::Denied, Class::File, Origin::Netlink, operation);
    violation.profile = Some(profile);
    violation.time = Some(1_795_450_134_756_000_000);
    violation
}

fn observe(metrics: &Metrics, violation: &Violation<'_>) {
    metrics.observe(&Event::unresolved(violation, SeenBy::only(Source::Audit)));
}

/// The sample lines of a metric, in their order.
fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.encode().unwrap();
    let is_sample = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(is_sample).map(str::to_owned).collect()
}

fn sum(metrics: &Metrics, name: &str) -> f64 {
    lines(metrics, name).iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn an_event_is_counted_in_every_metric_that_is_about_events() {
    let metrics = metrics(100);
    observe(&metrics, &denial(b"open", b"web"));
    observe(&metrics, &denial(b"open", b"web"));
    let empty = r#"namespace="",workload="",pod="",container="""#;
    assert_eq!(
        lines(&metrics, "apparmor_events_total"),
        [format!(
            r#"apparmor_events_total{{verdict="denied",class="file",operation="open",profile="web",{empty}}} 2"#
        )]
    );
    assert_eq!(
        lines(&metrics, "apparmor_last_event_timestamp_seconds"),
        [format!(
            r#"apparmor_last_event_timestamp_seconds{{verdict="denied",profile="web",{empty}}} 1795450134.756"#
        )]
    );
    assert!(
        lines(&metrics, "apparmor_node_events_total")
            .contains(&r#"apparmor_node_events_total{verdict="denied",class="file"} 2"#.to_owned())
    );
    assert_eq!(sum(&metrics, "apparmor_node_events_total"), 2.0);
    assert_eq!(sum(&metrics, "aa_monitor_event_latency_seconds_count"), 2.0);
    assert_eq!(sum(&metrics, "aa_monitor_series"), 2.0);
}

#[test]
fn an_older_event_does_not_turn_the_last_one_back() {
    let metrics = metrics(100);
    let mut violation = denial(b"open", b"web");
    for time in [2_000_000_000, 3_000_000_000, 1_000_000_000] {
        violation.time = Some(time);
        observe(&metrics, &violation);
    }
    let last = lines(&metrics, "apparmor_last_event_timestamp_seconds");
    assert!(last.concat().ends_with("} 3"), "{last:?}");
}

#[test]
fn every_row_whose_labels_are_known_exists_from_the_start() {
    let metrics = metrics(100);
    for (name, rows) in [
        ("apparmor_node_events_total", Verdict::ALL.len() * Class::ALL.len()),
        ("apparmor_enabled", 1),
        ("aa_monitor_source_up", Source::ALL.len()),
        ("aa_monitor_events_received_total", Source::ALL.len()),
        ("aa_monitor_events_lost_total", Loss::ALL.len()),
        ("aa_monitor_event_latency_seconds_count", Source::ALL.len()),
        ("aa_monitor_pod_source_up", 2),
        ("aa_monitor_pod_source_failures_total", 2),
        ("aa_monitor_pods", 1),
        ("aa_monitor_pods_refused_total", 1),
        ("aa_monitor_name_waits_total", 3),
        ("aa_monitor_build_info", 1),
        ("aa_monitor_kube_events_total", 4),
        ("aa_monitor_series", 1),
        ("aa_monitor_series_limit", 1),
        ("aa_monitor_series_dropped_total", 1),
        ("process_cpu_seconds_total", 1),
        ("process_open_fds", 1),
        ("process_max_fds", 1),
        ("process_virtual_memory_bytes", 1),
        ("process_resident_memory_bytes", 1),
        ("process_threads", 1),
        ("process_start_time_seconds", 1),
    ] {
        assert_eq!(lines(&metrics, name).len(), rows, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_counted_under_other_and_no_sum_is_wrong() {
    let metrics = metrics(10);
    let profiles: Vec<String> = (0..20).map(|n| format!("profile-{n}")).collect();
    for profile in profiles.iter().chain(&profiles) {
        observe(&metrics, &denial(b"open", profile.as_bytes()));
    }
    assert_eq!(sum(&metrics, "apparmor_events_total"), 40.0);
    assert_eq!(sum(&metrics, "aa_monitor_series_dropped_total"), 30.0);
    let rest = lines(&metrics, "apparmor_events_total");
    let rest: Vec<_> = rest.iter().filter(|line| line.contains("__other__")).collect();
    assert_eq!(
        rest,
        [concat!(
            r#"apparmor_events_total{verdict="denied",class="file",operation="open",profile="__other__","#,
            r#"namespace="__other__",workload="__other__",pod="__other__",container="__other__"} 30"#
        )]
    );
    assert_eq!(sum(&metrics, "aa_monitor_series"), 12.0);
}

#[test]
fn profiles_become_labels_that_cannot_act_and_do_not_multiply() {
    for (name, profile, namespace, want) in [
        ("plain", &b"web"[..], None, r#"profile="web""#),
        ("learning child", b"web//null-/bin/sh", None, r#"profile="web""#),
        ("quote and brace", br#"a"} 1"#, None, r#"profile="a\"} 1""#),
        ("new line", b"a\nb", None, r#"profile="a\\x0ab""#),
        ("not UTF-8", b"a\xff", None, r#"profile="a\\xff""#),
        ("root namespace", b"web", Some(&b"root"[..]), r#"profile="web""#),
        ("another namespace", b"web", Some(b"root//lxd"), r#"profile=":lxd://web""#),
    ] {
        let metrics = metrics(100);
        let mut violation = denial(b"open", profile);
        violation.namespace = namespace;
        observe(&metrics, &violation);
        let lines = lines(&metrics, "apparmor_events_total");
        assert!(lines.len() == 1 && lines.concat().contains(want), "{name}: {lines:?}");
    }
}

#[test]
fn a_profile_of_any_length_is_a_short_label() {
    let metrics = metrics(100);
    observe(&metrics, &denial(b"open", &[b'x'; 65_536]));
    assert!(lines(&metrics, "apparmor_events_total").concat().len() < 600);
}

#[test]
fn the_ledger_is_read_at_each_scrape() {
    let ledger = Arc::new(Ledger::default());
    let metrics = Metrics::new(Arc::clone(&ledger), 100).unwrap();
    ledger.received(Source::Ebpf, 5);
    ledger.source_up(Source::Ebpf);
    ledger.on_refresh(Box::new(|ledger| ledger.set_lost(Loss::RingFull, 3)));
    ledger.set_hooks(vec![
        Hook { function: "audit_pre", attached: Attached::Kprobe, reason: String::new() },
        Hook { function: "aa_capable", attached: Attached::No, reason: "absent".into() },
    ]);
    let text = metrics.encode().unwrap();
    for line in [
        r#"aa_monitor_source_up{source="ebpf"} 1"#,
        r#"aa_monitor_source_up{source="audit"} 0"#,
        r#"aa_monitor_events_received_total{source="ebpf"} 5"#,
        r#"aa_monitor_events_lost_total{source="ebpf",stage="capture",reason="ring_full"} 3"#,
        r#"aa_monitor_hook_attached{function="audit_pre",how="kprobe"} 1"#,
        r#"aa_monitor_hook_attached{function="aa_capable",how="none"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// Of each family served: its type and the names of its labels.
fn served(text: &str) -> BTreeMap<&str, (&str, BTreeSet<&str>)> {
    let mut families = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name, (kind, BTreeSet::new()));
        }
        let Some((sample, labels)) = line.split_once(' ').and_then(|(series, _)| series.split_once('{'))
        else {
            continue;
        };
        let name = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| sample.strip_suffix(end));
        let name = name.filter(|name| families.contains_key(name)).unwrap_or(sample);
        let known = labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| name);
        families.get_mut(name).unwrap().1.extend(known.filter(|label| *label != "le"));
    }
    families
}

#[test]
fn the_reference_is_true_of_what_is_served() {
    let metrics = metrics(100);
    observe(&metrics, &denial(b"open", b"web"));
    metrics.ledger.set_hooks(vec![Hook { function: "f", attached: Attached::No, reason: String::new() }]);
    let text = metrics.encode().unwrap();
    let families = served(&text);
    assert!(families.len() > 15, "{families:?}");
    for (name, (kind, labels)) in families {
        let known = METRICS.iter().find(|metric| metric.name == name);
        let known = known.unwrap_or_else(|| panic!("{name}: add it to METRICS in reference.rs"));
        assert_eq!(kind, known.kind.as_str(), "{name}: its type in reference.rs");
        assert_eq!(labels, known.labels.iter().copied().collect(), "{name}: its labels in reference.rs");
    }
}

#[test]
fn the_documentation_has_every_way_to_lose() {
    let page = include_str!("../../../../docs/metrics.md");
    for loss in Loss::ALL {
        let (_, stage, reason) = loss.labels();
        assert!(page.contains(&format!("| `{stage}` | `{reason}` |")), "{stage} {reason}");
    }
}

/// An event of a container, on a clock of its own.
fn observe_of(metrics: &Metrics, container: Container, now: Instant) {
    let violation = denial(b"open", b"web");
    let subject = Identity { container: Some(Arc::new(container)), how: How::Cgroup, own: false };
    let event = Event { violation: &violation, seen_by: SeenBy::default(), subject: &subject, peer: None };
    metrics.store().count(&Values::of(&event), 1, || now);
}

fn container(namespace: &str, pod: &str, name: &str) -> Container {
    let known = Pod {
        uid: "5ba10e3e".into(),
        namespace: namespace.into(),
        name: pod.into(),
        workload: pod.trim_end_matches("-x").into(),
        ..Pod::default()
    };
    Container {
        id: "0123456789abcdef".into(),
        name: name.into(),
        pod: Some(Arc::new(known)),
        ..Container::default()
    }
}

#[test]
fn labels_tell_whose_it_was_as_far_as_it_is_known() {
    let without_pod = |name: &str| Container { pod: None, ..container("", "", name) };
    for (name, container, want) in [
        (
            "a pod",
            container("shop", "web-x", "app"),
            r#"namespace="shop",workload="web",pod="web-x",container="app""#,
        ),
        (
            "no name yet",
            container("shop", "web-x", ""),
            r#"namespace="shop",workload="web",pod="web-x",container="0123456789ab""#,
        ),
        (
            "a UID",
            container("", "", ""),
            r#"namespace="",workload="",pod="5ba10e3e",container="0123456789ab""#,
        ),
        ("a container", without_pod("db"), r#"namespace="",workload="",pod="",container="db""#),
        ("hostile", without_pod("a\"\n"), r#"namespace="",workload="",pod="",container="a\"\\x0a""#),
    ] {
        let metrics = metrics(100);
        observe_of(&metrics, container, Instant::now());
        for metric in ["apparmor_events_total", "apparmor_last_event_timestamp_seconds"] {
            let lines = lines(&metrics, metric).concat();
            assert!(lines.contains(want), "{name}: {lines}");
        }
    }
}

#[test]
fn a_label_that_is_not_wanted_is_not_there() {
    for (wanted, labels, last) in [
        ("none", r#"verdict="denied",class="file""#, r#"verdict="denied""#),
        ("pod", r#"verdict="denied",class="file",pod="web-x""#, r#"verdict="denied",pod="web-x""#),
        (
            "namespace,workload,profile",
            r#"verdict="denied",class="file",profile="web",namespace="shop",workload="web""#,
            r#"verdict="denied",profile="web",namespace="shop",workload="web""#,
        ),
    ] {
        let metrics = Metrics::with_labels(Arc::default(), 100, &wanted.parse().unwrap()).unwrap();
        for name in ["app", "side"] {
            observe_of(&metrics, container("shop", "web-x", name), Instant::now());
        }
        assert_eq!(
            lines(&metrics, "apparmor_events_total"),
            [format!("apparmor_events_total{{{labels}}} 2")]
        );
        let line = lines(&metrics, "apparmor_last_event_timestamp_seconds").concat();
        assert!(line.starts_with(&format!("apparmor_last_event_timestamp_seconds{{{last}}} ")), "{line}");
    }
}

#[test]
fn series_end_five_minutes_after_their_pod_and_its_last_event() {
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
    let start = Instant::now();
    let metrics = metrics(100);
    let pods = || {
        let mut pods: Vec<_> = lines(&metrics, "apparmor_events_total")
            .iter()
            .map(|line| line.split("pod=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
            .collect();
        pods.sort();
        pods.join(" ")
    };
    let present = |here: &'static str| {
        move |_: &str, pod: &str| match pod {
            "unsure" => Presence::Unknown,
            pod if here.split(' ').any(|here| here == pod) => Presence::Here,
            _ => Presence::Gone,
        }
    };
    for pod in ["stays", "job", "unsure"] {
        observe_of(&metrics, container("shop", pod, "app"), start);
    }
    observe(&metrics, &denial(b"open", b"of the host"));
    metrics.sweep(start + 600 * MINUTE / 10, present("stays job"));
    assert_eq!(pods(), " job stays unsure", "however long a pod is quiet");
    let gone = start + 100 * MINUTE;
    metrics.sweep(gone, present("stays"));
    metrics.sweep(gone + 5 * MINUTE - MINUTE / 60, present("stays"));
    assert_eq!(pods(), " job stays unsure");
    metrics.sweep(gone + 5 * MINUTE, present("stays"));
    assert_eq!(pods(), " stays unsure");
    assert_eq!(lines(&metrics, "apparmor_last_event_timestamp_seconds").len(), 3);

    // A late event is seen, and does not stay for ever.
    let late = gone + 6 * MINUTE;
    observe_of(&metrics, container("shop", "job", "app"), late);
    metrics.sweep(late, present("stays"));
    assert_eq!(pods(), " job stays unsure");
    observe_of(&metrics, container("shop", "job", "app"), late + 3 * MINUTE);
    metrics.sweep(late + 5 * MINUTE, present("stays"));
    assert_eq!(pods(), " job stays unsure", "five minutes after the last event");
    metrics.sweep(late + 8 * MINUTE, present("stays"));
    assert_eq!(pods(), " stays unsure");

    // A pod that comes back under its name begins anew; what nobody knows of ends after six hours.
    metrics.sweep(start + 359 * MINUTE, present("stays"));
    assert_eq!(pods(), " stays unsure");
    metrics.sweep(start + 360 * MINUTE, present("stays"));
    assert_eq!(pods(), " stays");
    assert_eq!(sum(&metrics, "aa_monitor_series"), 4.0);
}

#[test]
fn a_pod_that_comes_back_in_time_keeps_its_series() {
    let start = Instant::now();
    let metrics = metrics(100);
    let minutes = |minutes: u64| start + std::time::Duration::from_secs(60 * minutes);
    observe_of(&metrics, container("shop", "db-0", "db"), start);
    metrics.sweep(minutes(10), |_, _| Presence::Gone);
    metrics.sweep(minutes(12), |_, _| Presence::Here);
    metrics.sweep(minutes(16), |_, _| Presence::Gone);
    metrics.sweep(minutes(20), |_, _| Presence::Gone);
    assert_eq!(sum(&metrics, "apparmor_events_total"), 1.0);
    metrics.sweep(minutes(21), |_, _| Presence::Gone);
    assert_eq!(sum(&metrics, "apparmor_events_total"), 0.0);
}

/// A denial without a record, of a container or of the host.
fn observe_silent(metrics: &Metrics, profile: &str, container: Option<Container>, reason: SilentReason) {
    let denial = SilentDenial {
        class: Class::File,
        operation: b"open".to_vec(),
        profile: profile.into(),
        namespace: b"root//ns".to_vec(),
        example: b"/etc/shadow".to_vec(),
        capability: None,
        cgroup_id: 40,
        reason,
        count: 3,
        read: UNIX_EPOCH,
    };
    let subject = Identity { container: container.map(Arc::new), how: How::Cgroup, own: false };
    metrics.observe_unrecorded(&Unrecorded { denial: &denial, subject: &subject });
}

#[test]
fn denials_without_a_record_have_a_metric_of_their_own() {
    const SILENT: &str = "apparmor_silent_denials_total";
    let metrics = metrics(100);
    assert_eq!(lines(&metrics, SILENT), [""; 0]);
    observe_silent(&metrics, "web", Some(container("shop", "web-x", "app")), SilentReason::QuietRule);
    observe_silent(&metrics, "web", Some(container("shop", "web-x", "app")), SilentReason::QuietRule);
    observe_silent(&metrics, "web", None, SilentReason::AuditMode);
    assert_eq!(
        lines(&metrics, SILENT),
        [
            r#"apparmor_silent_denials_total{class="file",profile=":ns://web",namespace="",workload="",pod="",container="",reason="audit_mode"} 3"#,
            r#"apparmor_silent_denials_total{class="file",profile=":ns://web",namespace="shop",workload="web",pod="web-x",container="app",reason="quiet_rule"} 6"#,
        ]
    );
    for name in ["apparmor_events_total", "apparmor_node_events_total"] {
        assert_eq!(sum(&metrics, name), 0.0, "{name}");
    }
    let late = Instant::now() + std::time::Duration::from_secs(600);
    metrics.sweep(late, |_, _| Presence::Gone);
    metrics.sweep(late + std::time::Duration::from_secs(600), |_, _| Presence::Gone);
    assert_eq!(lines(&metrics, SILENT).len(), 1, "the pod's ended with it, the host's stays");
}

#[test]
fn denials_without_a_record_share_the_limit_of_series() {
    let metrics = metrics(5);
    for number in 0..20 {
        observe_silent(&metrics, &format!("p{number}"), None, SilentReason::QuietRule);
    }
    let lines = lines(&metrics, "apparmor_silent_denials_total");
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(sum(&metrics, "apparmor_silent_denials_total"), 60.0, "none is lost");
    assert_eq!(sum(&metrics, "aa_monitor_series_dropped_total"), 45.0);
    assert!(lines.iter().any(|line| line.contains(r#"profile="__other__""#) && line.ends_with(" 45")));
    let event = denial(b"open", b"web");
    observe(&metrics, &event);
    assert_eq!(sum(&metrics, "apparmor_events_total"), 1.0, "an event is counted all the same");
}
