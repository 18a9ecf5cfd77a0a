//! What the agent's service account may do, by asking the API server (`SelfSubjectAccessReview`, which every
//! account may make): whether it could write an Event is not tried out by writing one.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use tokio::time::timeout;

use super::Finding;
use crate::config::Config;
use crate::identity::pods::{Source, client, node_name};
use crate::output::kube_events::KubeEventsChoice;

/// For all questions together: there are six at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A permission that the configuration makes use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    verb: &'static str,
    group: &'static str,
    /// With its subresource, as in a role. One of them is enough; the first is to be given.
    resources: &'static [&'static str],
    /// What is lost without it.
    loss: &'static str,
    /// What to do where it is not to be given.
    instead: &'static str,
}

const fn pods(verb: &'static str) -> Need {
    Need {
        verb,
        group: "",
        resources: &["pods"],
        loss: "events carry the container's id and no names",
        instead: "--pod-source kubelet or none",
    }
}

const fn events(verb: &'static str, loss: &'static str) -> Need {
    Need { verb, group: "events.k8s.io", resources: &["events"], loss, instead: "--kube-events off" }
}

/// What this configuration needs, in the order in which it is told.
fn needs(source: Option<Source>, kube_events: KubeEventsChoice, labels: bool) -> Vec<Need> {
    let mut needs = match source {
        Some(Source::Api) => vec![pods("list"), pods("watch")],
        Some(Source::Kubelet) => vec![Need {
            verb: "get",
            group: "",
            // Kubelets before 1.33 know only the second (KubeletFineGrainedAuthz), and that opens all of a kubelet.
            resources: &["nodes/pods", "nodes/proxy"],
            loss: "the kubelet refuses, and events carry the container's id and no names",
            instead: "--pod-source api or none",
        }],
        None => Vec::new(),
    };
    if kube_events != KubeEventsChoice::Off {
        needs.push(events("create", "`kubectl describe pod` shows nothing of AppArmor"));
        needs.push(events("patch", "an Event tells of the first denial and never how many there were"));
    }
    if labels {
        needs.push(Need {
            verb: "patch",
            group: "",
            resources: &["nodes"],
            loss: "this node is not labelled with its profiles",
            instead: "no --node-labels",
        });
    }
    needs
}

/// Whether all is permitted that this configuration needs; nothing where there is no API server to ask.
pub(super) async fn findings(config: &Config, source: Option<Source>) -> Vec<Finding> {
    if !client::configured(config.kubeconfig.as_deref()) {
        return Vec::new();
    }
    let needs = needs(source, config.kube_events, config.node_labels.is_some());
    let asked = timeout(ANSWER_LIMIT, ask(config, &needs)).await;
    match asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {ANSWER_LIMIT:?}"))) {
        Ok(allowed) => needs.iter().zip(allowed).map(|(need, allowed)| judge(need, allowed)).collect(),
        Err(error) => vec![Finding::warn(
            "permissions",
            format!("not known: {error:#}"),
            "see that the API server can be reached; kubectl auth can-i --list --as=system:serviceaccount:... \
             tells the same",
        )],
    }
}

async fn ask(config: &Config, needs: &[Need]) -> anyhow::Result<Vec<bool>> {
    let reviews: Api<SelfSubjectAccessReview> =
        Api::all(client::connect(config.kubeconfig.as_deref()).await?);
    let node = node_name::find(config.node_name.as_deref()).ok();
    let mut answers = Vec::with_capacity(needs.len());
    for need in needs {
        let mut allowed = false;
        for resource in need.resources {
            allowed = allowed || may(&reviews, need, resource, node.as_deref()).await?;
        }
        answers.push(allowed);
    }
    Ok(answers)
}

async fn may(
    reviews: &Api<SelfSubjectAccessReview>,
    need: &Need,
    resource: &str,
    node: Option<&str>,
) -> anyhow::Result<bool> {
    let (verb, what) = (need.verb, resource);
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(need.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        // A role may be about this node alone. Of pods and Events, no namespace is all namespaces.
        name: node.filter(|_| resource == "nodes").map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.with_context(|| format!("asking whether {verb} {what} is permitted"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn judge(need: &Need, allowed: bool) -> Finding {
    let Need { verb, group, resources, loss, instead } = need;
    let resource = resources.first().copied().unwrap_or_default();
    let full = match group.is_empty() {
        true => resource.to_owned(),
        false => format!("{resource}.{group}"),
    };
    if allowed {
        return Finding::ok("permission", format!("{verb} {full}"));
    }
    Finding::warn(
        "permission",
        format!("{verb} {full} is not permitted: {loss}"),
        format!(
            "give the agent's ClusterRole apiGroups [{group:?}], resources [{resource:?}], verbs [{verb:?}]; \
             or {instead}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_configuration_needs_its_own() {
        use KubeEventsChoice::{All, Denied, Off};
        let events = ["create events", "patch events"];
        for (name, source, kube_events, labels, want) in [
            (
                "the default",
                Some(Source::Api),
                Denied,
                false,
                [&["list pods", "watch pods"][..], &events].concat(),
            ),
            ("a kubelet", Some(Source::Kubelet), All, false, [&["get nodes/pods"][..], &events].concat()),
            ("pods alone", Some(Source::Api), Off, false, vec!["list pods", "watch pods"]),
            ("labels alone", None, Off, true, vec!["patch nodes"]),
            ("nothing", None, Off, false, vec![]),
        ] {
            let needs = needs(source, kube_events, labels);
            let got: Vec<_> =
                needs.iter().map(|need| format!("{} {}", need.verb, need.resources[0])).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
