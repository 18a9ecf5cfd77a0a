//! What is known of every container's confinement, and what is wrong with it. Pure: pods, readings and the
//! inventory in, rows and news out.

use std::collections::HashSet;
use std::sync::Arc;

use super::allowed::Allowed;
use super::compare::{RuntimeDefaults, canonical, is_as_asked};
use super::requested::Requested;
use crate::identity::pods::{ContainerState, KubeContainer, KubePod};
use crate::node::label::Label;
use crate::node::profiles::Inventory;

/// The rules by which a container is judged.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What the runtime's default profile may be called.
    pub defaults: RuntimeDefaults,
    /// What pods may ask for.
    pub allowed: Allowed,
}

/// What is loaded on the node.
#[derive(Clone, Copy, Debug)]
pub enum Loaded<'a> {
    /// These profiles.
    These(&'a Inventory),
    /// None can be: AppArmor is off.
    Off,
    /// The list cannot be read, so nothing is said to be missing.
    Unknown,
}

/// Something that is wrong with a container's confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// It asks for a profile that is not loaded.
    Missing,
    /// It runs under another profile than it asked for.
    Mismatch,
    /// What it asks for has no meaning.
    Invalid,
    /// What it asks for is on no list.
    NotAllowed,
}

/// One thing that is wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: What,
    /// The profile that it is about, without `localhost/`.
    pub profile: Box<str>,
    /// What the kubelet or the runtime called it (`CreateContainerError`); empty while they say nothing.
    pub said: Box<str>,
    /// For people.
    pub text: String,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its pod.
    pub pod: Arc<KubePod>,
    /// Which of the pod's containers it is.
    pub number: usize,
    /// What it asked for.
    pub requested: Requested,
    /// What it runs under, once that was read.
    pub applied: Option<Label>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Row {
    /// The container.
    pub fn container(&self) -> Option<&KubeContainer> {
        self.pod.containers.get(self.number)
    }
}

/// Judges every container of `pods`; `applied` knows what a container id runs under.
pub fn judge(
    pods: &[Arc<KubePod>],
    applied: impl Fn(&str) -> Option<Label>,
    loaded: Loaded<'_>,
    rules: &Rules,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for pod in pods.iter().filter(|pod| !is_over(pod)) {
        for (number, container) in pod.containers.iter().enumerate() {
            let requested = Requested::of(pod, container);
            let runs = container.state == ContainerState::Running;
            let applied = container.id.as_deref().filter(|_| runs).and_then(&applied);
            let findings = findings(pod, container, &requested, applied.as_ref(), loaded, rules);
            rows.push(Row { pod: Arc::clone(pod), number, requested, applied, findings });
        }
    }
    rows
}

/// Whether nothing of the pod will run any more. One that was refused because of AppArmor is still of interest.
fn is_over(pod: &KubePod) -> bool {
    matches!(&*pod.phase, "Succeeded" | "Failed") && pod.reason.as_deref() != Some("AppArmor")
}

fn findings(
    pod: &KubePod,
    container: &KubeContainer,
    requested: &Requested,
    applied: Option<&Label>,
    loaded: Loaded<'_>,
    rules: &Rules,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = &container.name;
    let mut add = |what, profile: &str, said: &str, text| {
        findings.push(Finding { what, profile: profile.into(), said: said.into(), text });
    };
    if let Requested::Invalid(why) = requested {
        add(
            What::Invalid,
            "",
            "",
            format!("container \"{name}\" has no valid AppArmor profile reference: {why}"),
        );
    }
    if !rules.allowed.allows(&pod.pod.namespace, requested, container.privileged) {
        let label = requested.as_label();
        let profile = label.strip_prefix("localhost/").unwrap_or(&label);
        let text = format!(
            "container \"{name}\" asks for AppArmor profile {label}, which is not on the list of allowed profiles \
             for namespace \"{}\"",
            pod.pod.namespace
        );
        add(What::NotAllowed, profile, "", text);
    }
    if let Some((profile, why)) = missing(container, requested, loaded) {
        let said = said(pod, container);
        let (word, words) = said.unwrap_or_default();
        let told = if word.is_empty() { String::new() } else { format!(" ({word}: {words})") };
        add(What::Missing, profile, word, format!("container \"{name}\" asks for {why}{told}"));
    } else if let Some((word, words)) = said(pod, container) {
        let label = requested.as_label();
        let profile = label.strip_prefix("localhost/").unwrap_or(&label);
        let text = format!(
            "container \"{name}\" asks for AppArmor profile {label} and cannot have it ({word}: {words})"
        );
        add(What::Missing, profile, word, text);
    }
    if let Some(applied) = applied.filter(|applied| !is_as_asked(requested, applied, &rules.defaults)) {
        let label = requested.as_label();
        let profile = label.strip_prefix("localhost/").unwrap_or(&label);
        let text = format!(
            "container \"{name}\" asks for AppArmor profile {label} and runs {}",
            if applied.is_unconfined() {
                "unconfined".to_owned()
            } else {
                format!("under \"{}\" ({})", applied.name.escape_ascii(), applied.mode.as_str())
            }
        );
        add(What::Mismatch, profile, "", text);
    }
    findings
}

/// The profile that the container asks for in vain, and how that is said.
fn missing<'a>(
    container: &KubeContainer,
    requested: &'a Requested,
    loaded: Loaded<'_>,
) -> Option<(&'a str, String)> {
    let Requested::Localhost(profile) = requested else { return None };
    // What has ended needs it no more.
    if container.state == ContainerState::Terminated {
        return None;
    }
    match loaded {
        Loaded::Unknown => None,
        Loaded::Off => {
            Some((profile, format!("AppArmor profile \"{profile}\", but AppArmor is off on this node")))
        }
        Loaded::These(inventory) if inventory.mode(canonical(profile).as_bytes()).is_some() => None,
        Loaded::These(_) => {
            Some((profile, format!("AppArmor profile \"{profile}\", which is not loaded on this node")))
        }
    }
}

/// What the kubelet or the runtime says about a container that cannot start because of its profile: the pod was
/// rejected (`AppArmor`), the container could not be created, or it is blocked (older kubelets).
fn said<'a>(pod: &'a KubePod, container: &'a KubeContainer) -> Option<(&'a str, &'a str)> {
    if pod.reason.as_deref() == Some("AppArmor") {
        return Some(("AppArmor", pod.message.as_deref().unwrap_or_default()));
    }
    let ContainerState::Waiting { reason, message } = &container.state else { return None };
    let about_it = message.to_ascii_lowercase().contains("apparmor");
    match &**reason {
        "Blocked" => Some((reason, message)),
        "CreateContainerError" | "CreateContainerConfigError" | "RunContainerError" if about_it => {
            Some((reason, message))
        }
        _ => None,
    }
}

/// Findings that were told.
#[derive(Debug, Default)]
pub struct Told(HashSet<Key>);

/// A finding is the same as long as these are: pod UID, container, its id, what, profile, what was said.
type Key = (Box<str>, Box<str>, Option<Box<str>>, What, Box<str>, Box<str>);

impl Told {
    /// Calls `tell` for each finding that it was not called for before. What is no longer so is forgotten, and
    /// news when it comes back.
    pub fn news<'a>(
        &mut self,
        rows: &'a [Row],
        mut tell: impl FnMut(&'a Row, &'a KubeContainer, &'a Finding),
    ) {
        let mut now = HashSet::new();
        for row in rows {
            let Some(container) = row.container() else { continue };
            for finding in &row.findings {
                // Which of the containers it was matters only for what was seen of a running one.
                let id = container.id.clone().filter(|_| finding.what == What::Mismatch);
                let key = (
                    row.pod.pod.uid.clone(),
                    container.name.clone(),
                    id,
                    finding.what,
                    finding.profile.clone(),
                    finding.said.clone(),
                );
                if !self.0.contains(&key) && !now.contains(&key) {
                    tell(row, container, finding);
                }
                now.insert(key);
            }
        }
        self.0 = now;
    }
}

#[cfg(test)]
mod tests;
