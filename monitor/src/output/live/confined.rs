//! What the pods of this node asked of AppArmor and what their containers run under, beside what the
//! containers have violated.

use std::collections::HashMap;

use super::status::{ContainerStatus, Status};
use crate::node::confinement::board::Row;
use crate::output::escape::escape;

/// Containers without a violation that are told of; `apparmor_container_confinement_info` has them all.
const CONTAINERS: usize = 1_000;
/// More of a profile's name is not shown.
const NAME_LIMIT: usize = 256;

/// Says of each container how it is confined, and adds those that violated nothing.
pub(super) fn complete(status: &mut Status, rows: &[Row]) {
    let mut known: HashMap<&str, &Row> = HashMap::new();
    for row in rows {
        // An id that is there no more is of a container of which nothing runs.
        if let Some(id) = row.container().and_then(|container| container.id.as_deref()) {
            known.insert(id, row);
        }
    }
    for container in &mut status.containers {
        match known.remove(&*container.id) {
            Some(row) => confine(container, row),
            // The mode of the profile is all that is known of it.
            None => {
                let profile = status.profiles.iter().find(|profile| profile.profile == container.profile);
                container.mode = profile.and_then(|profile| profile.mode.clone());
            }
        }
    }
    let told = |row: &&Row| match row.container().map(|container| container.id.as_deref()) {
        // One that was never started has asked for something, too.
        Some(None) => true,
        Some(Some(id)) => known.contains_key(id),
        None => false,
    };
    let mut quiet = rows.iter().filter(told);
    for row in quiet.by_ref().take(CONTAINERS) {
        let mut container = ContainerStatus::default();
        confine(&mut container, row);
        status.containers.push(container);
    }
    status.left_out = quiet.count() as u64;
    status.containers.sort_by(|a, b| (&a.pod, &a.container).cmp(&(&b.pod, &b.container)));
}

fn confine(container: &mut ContainerStatus, row: &Row) {
    let safe = |name: &[u8]| escape(name, NAME_LIMIT).into_owned();
    if let Some(of_pod) = row.container() {
        container.pod = format!("{}/{}", row.pod.pod.namespace, row.pod.pod.name);
        container.container = safe(of_pod.name.as_bytes());
        container.id = of_pod.id.as_deref().unwrap_or_default().to_owned();
    }
    container.requested = Some(safe(row.requested.as_label().as_bytes()));
    container.applied = row.applied.as_ref().map(|label| safe(&label.name));
    container.mode = row.applied.as_ref().map(|label| label.mode.as_str().to_owned());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Pod;
    use crate::identity::pods::{KubeContainer, KubePod};
    use crate::node::confinement::requested::Requested;
    use crate::node::label::Label;
    use crate::output::live::ProfileStatus;

    fn row(name: &str, id: Option<&str>, requested: Requested, applied: Option<&str>) -> Row {
        let pod = Pod { namespace: "shop".into(), name: "web-0".into(), ..Pod::default() };
        let container = KubeContainer { name: name.into(), id: id.map(Into::into), ..Default::default() };
        let pod = KubePod { pod: Arc::new(pod), containers: [container].into(), ..KubePod::default() };
        let applied = applied.and_then(|label| Label::parse(label.as_bytes()));
        Row { pod: Arc::new(pod), number: 0, requested, applied, findings: Vec::new() }
    }

    #[test]
    fn each_container_is_told_once_with_what_it_asked_for_and_runs_under() {
        let violated = |id: &str, profile: &str| ContainerStatus {
            id: id.to_owned(),
            container: id.to_owned(),
            profile: profile.to_owned(),
            denied: 3,
            ..Default::default()
        };
        let profile = |name: &str, mode: &str| ProfileStatus {
            profile: name.to_owned(),
            mode: Some(mode.to_owned()),
            ..Default::default()
        };
        let mut status = Status {
            profiles: vec![profile("web", "complain"), profile("runc-default", "enforce")],
            containers: vec![violated("id-1", "web"), violated("gone", "runc-default"), violated("odd", "x")],
            ..Default::default()
        };
        let rows = [
            row("web", Some("id-1"), Requested::Localhost("web".into()), Some("web (complain)")),
            row("quiet", Some("id-2"), Requested::Nothing, Some("runc-default (enforce)")),
            row(
                "hostile",
                Some("id-3"),
                Requested::Localhost("\u{1b}[2J".into()),
                Some("\u{1b}[2J (enforce)"),
            ),
            row("waits", None, Requested::Unconfined, None),
        ];
        complete(&mut status, &rows);
        let told: Vec<_> = status
            .containers
            .iter()
            .map(|c| {
                let or = |word: &Option<String>| word.clone().unwrap_or_else(|| "-".into());
                let (requested, applied, mode) = (or(&c.requested), or(&c.applied), or(&c.mode));
                format!("{} {} {requested} {applied} {mode} {}", c.pod, c.container, c.denied)
            })
            .collect();
        assert_eq!(
            told,
            [
                " gone - - enforce 3",
                " odd - - - 3",
                "shop/web-0 hostile localhost/\\x1b[2J \\x1b[2J enforce 0",
                "shop/web-0 quiet none runc-default enforce 0",
                "shop/web-0 waits unconfined - - 0",
                "shop/web-0 web localhost/web web complain 3",
            ]
        );
    }

    #[test]
    fn no_more_than_a_limit_of_quiet_containers_is_told() {
        let mut status = Status::default();
        let rows: Vec<_> = (0..CONTAINERS + 5)
            .map(|number| row("c", Some(&format!("id-{number}")), Requested::Nothing, None))
            .collect();
        complete(&mut status, &rows);
        assert_eq!((status.containers.len(), status.left_out), (CONTAINERS, 5));
    }
}
