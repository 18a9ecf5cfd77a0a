use std::collections::HashMap;

use super::*;
use crate::identity::Pod;
use crate::identity::pods::AppArmorRef;

const LOADED: &[u8] = b"web (enforce)\nlearn (complain)\ncri-containerd.apparmor.d (enforce)\n";

/// A container that asks for this (an annotation's words; empty for nothing), with its state.
fn container(name: &str, asks: &str, state: ContainerState) -> KubeContainer {
    KubeContainer {
        name: name.into(),
        annotation: (!asks.is_empty()).then(|| asks.into()),
        id: Some(format!("id-of-{name}").into()),
        state,
        ..KubeContainer::default()
    }
}

fn pod(containers: Vec<KubeContainer>) -> KubePod {
    let pod = Pod { uid: "u".into(), namespace: "shop".into(), name: "web-0".into(), ..Pod::default() };
    KubePod {
        pod: Arc::new(pod),
        phase: "Running".into(),
        containers: containers.into(),
        ..KubePod::default()
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState::Waiting { reason: reason.into(), message: message.into() }
}

/// What is found, as `what profile said`, for each container.
fn found(pod: KubePod, applied: &[(&str, &str)], loaded: Loaded<'_>, rules: &Rules) -> Vec<String> {
    let applied: HashMap<String, Label> = applied
        .iter()
        .map(|(name, label)| (format!("id-of-{name}"), Label::parse(label.as_bytes()).unwrap()))
        .collect();
    let rows = judge(&[Arc::new(pod)], |id| applied.get(id).cloned(), loaded, rules);
    let findings = rows.iter().flat_map(|row| &row.findings);
    findings.map(|Finding { what, profile, said, .. }| format!("{what:?} {profile} {said}")).collect()
}

#[test]
fn each_container_is_judged_by_what_it_asked_for() {
    use ContainerState::{Running, Terminated, Unknown};
    let inventory = Inventory::parse(LOADED);
    for (name, asks, state, applied, want) in [
        ("as asked", "localhost/web", Running, "web (enforce)", vec![]),
        ("complain is as asked", "localhost/learn", Running, "learn (complain)", vec![]),
        ("another", "localhost/web", Running, "cri-containerd.apparmor.d (enforce)", vec!["Mismatch web "]),
        ("unconfined", "localhost/web", Running, "unconfined", vec!["Mismatch web "]),
        ("default", "runtime/default", Running, "cri-containerd.apparmor.d (enforce)", vec![]),
        ("no default", "runtime/default", Running, "unconfined", vec!["Mismatch runtime/default "]),
        ("confined against its will", "unconfined", Running, "web (enforce)", vec!["Mismatch unconfined "]),
        ("nothing asked", "", Running, "unconfined", vec![]),
        ("not read yet", "localhost/web", Running, "", vec![]),
        ("what ran before does not count", "localhost/web", Terminated, "unconfined", vec![]),
        ("missing, before it starts", "localhost/db", Unknown, "", vec!["Missing db "]),
        ("missing, creating", "localhost/db", waiting("ContainerCreating", ""), "", vec!["Missing db "]),
        (
            "missing, and the runtime says so",
            "localhost/db",
            waiting("CreateContainerError", "failed to apply apparmor profile: not loaded"),
            "",
            vec!["Missing db CreateContainerError"],
        ),
        (
            "missing, and an old kubelet says so",
            "localhost/db",
            waiting("Blocked", "Cannot enforce AppArmor: profile \"db\" is not loaded"),
            "",
            vec!["Missing db Blocked"],
        ),
        (
            "loaded by now, but the runtime could not",
            "localhost/web",
            waiting("CreateContainerError", "AppArmor said no"),
            "",
            vec!["Missing web CreateContainerError"],
        ),
        ("another error", "localhost/web", waiting("CreateContainerError", "no such image"), "", vec![]),
        (
            "unloaded under a running container",
            "localhost/db",
            Running,
            "unconfined",
            vec!["Missing db ", "Mismatch db "],
        ),
        ("ended, needs it no more", "localhost/db", Terminated, "", vec![]),
        ("nonsense", "localhost/", Running, "unconfined", vec!["Invalid  "]),
    ] {
        let pod = pod(vec![container("c", asks, state)]);
        let applied = if applied.is_empty() { vec![] } else { vec![("c", applied)] };
        assert_eq!(found(pod, &applied, Loaded::These(&inventory), &Rules::default()), want, "{name}");
    }
}

#[test]
fn what_is_loaded_may_be_nothing_or_not_known() {
    for (name, loaded, want) in [
        ("off", Loaded::Off, vec!["Missing web "]),
        ("not known", Loaded::Unknown, vec![]),
        ("none", Loaded::These(&Inventory::default()), vec!["Missing web "]),
    ] {
        let pod = pod(vec![container("c", "localhost/web", ContainerState::Unknown)]);
        assert_eq!(found(pod, &[], loaded, &Rules::default()), want, "{name}");
    }
}

#[test]
fn a_pod_that_was_rejected_is_told_with_the_kubelets_words() {
    let message = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
    let rejected = KubePod {
        phase: "Failed".into(),
        reason: Some("AppArmor".into()),
        message: Some(message.into()),
        ..pod(vec![container("c", "localhost/web", ContainerState::Unknown)])
    };
    let rows = judge(&[Arc::new(rejected)], |_| None, Loaded::Off, &Rules::default());
    let texts: Vec<_> = rows[0].findings.iter().map(|finding| &*finding.text).collect();
    let want = "container \"c\" asks for AppArmor profile \"web\", but AppArmor is off on this node \
                (AppArmor: Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host)";
    assert_eq!(texts, [want]);
}

#[test]
fn a_pod_that_is_over_is_of_no_interest() {
    for phase in ["Succeeded", "Failed"] {
        let over = KubePod {
            phase: phase.into(),
            ..pod(vec![container("c", "localhost/db", ContainerState::Unknown)])
        };
        assert!(found(over, &[], Loaded::Off, &Rules::default()).is_empty(), "{phase}");
    }
}

#[test]
fn what_is_on_no_list_is_told() {
    let rules = Rules { allowed: "runtime/default".parse().unwrap(), ..Rules::default() };
    let pod = pod(vec![
        container("a", "localhost/web", ContainerState::Unknown),
        container("b", "", ContainerState::Unknown),
        container("c", "unconfined", ContainerState::Unknown),
    ]);
    let inventory = Inventory::parse(LOADED);
    let found = found(pod, &[], Loaded::These(&inventory), &rules);
    assert_eq!(found, ["NotAllowed web ", "NotAllowed unconfined "]);
}

#[test]
fn the_pods_field_is_for_all_its_containers() {
    let field = AppArmorRef { kind: "Localhost".into(), localhost: Some("web".into()) };
    let pod = KubePod {
        app_armor: Some(field),
        ..pod(vec![
            container("a", "", ContainerState::Running),
            container("b", "unconfined", ContainerState::Running),
        ])
    };
    let inventory = Inventory::parse(LOADED);
    let applied = [("a", "unconfined"), ("b", "unconfined")];
    assert_eq!(found(pod, &applied, Loaded::These(&inventory), &Rules::default()), ["Mismatch web "]);
}

#[test]
fn a_finding_is_told_once_until_it_has_gone() {
    let inventory = Inventory::parse(LOADED);
    let rows = |asks: &str, state: ContainerState| {
        let pods = [Arc::new(pod(vec![container("c", asks, state)]))];
        judge(&pods, |_| Label::parse(b"unconfined"), Loaded::These(&inventory), &Rules::default())
    };
    let mut told = Told::default();
    for (name, rows, want) in [
        ("missing", rows("localhost/db", ContainerState::Unknown), 1),
        ("still", rows("localhost/db", waiting("ContainerCreating", "")), 0),
        ("and what was said about it", rows("localhost/db", waiting("Blocked", "x")), 1),
        ("gone", rows("localhost/web", ContainerState::Unknown), 0),
        ("back", rows("localhost/db", ContainerState::Unknown), 1),
        ("runs, and is none", rows("localhost/db", ContainerState::Running), 1),
        ("all gone", vec![], 0),
    ] {
        let mut news = 0;
        told.news(&rows, |_, _, _| news += 1);
        assert_eq!(news, want, "{name}");
    }
}
