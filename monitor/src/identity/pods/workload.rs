//! What owns a pod, from the pod alone: no further request to the API server.

/// The controller that a pod names as its owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
}

/// The labels that say which revision of what a pod's ReplicaSet is, and whose ReplicaSet it then is.
const REVISIONS: [(&str, &str); 2] =
    [("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")];

/// Kind and name of the workload of the pod called `pod`, whose labels `label` looks up.
///
/// A ReplicaSet is a Deployment's only if the pod says which revision it is of: one that somebody made by
/// hand has no such label, and stays what it is.
pub(super) fn of<'a>(
    pod: &'a str,
    owner: Option<Owner<'a>>,
    label: impl Fn(&str) -> Option<&'a str>,
) -> (&'a str, &'a str) {
    let Some(Owner { kind, name }) = owner else { return ("Pod", pod) };
    match kind {
        "ReplicaSet" => REVISIONS
            .into_iter()
            .find_map(|(key, kind)| {
                let base = name.strip_suffix(label(key)?)?.strip_suffix('-')?;
                Some((kind, base)).filter(|_| !base.is_empty())
            })
            .unwrap_or((kind, name)),
        "Job" => scheduled(name).map_or((kind, name), |base| ("CronJob", base)),
        _ => (kind, name),
    }
}

/// The CronJob that a Job is named after: the controller appends when it was due, in minutes since the epoch
/// (`cronjob_controllerv2.go`), until Kubernetes 1.20 in seconds.
///
/// A date (`backup-20261124`) is no such number: as minutes it lies before 2018, as seconds (with the hour)
/// after 2033.
fn scheduled(job: &str) -> Option<&str> {
    let (base, due) = job.rsplit_once('-')?;
    let number: u64 = due.parse().ok().filter(|_| due.bytes().all(|byte| byte.is_ascii_digit()))?;
    let plausible = match due.len() {
        8 => number >= 25_000_000,
        10 => (1_400_000_000..2_000_000_000).contains(&number),
        _ => false,
    };
    Some(base).filter(|base| plausible && !base.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_that_a_person_would_name() {
        let hash = ("pod-template-hash", "7d4b9c");
        for (kind, name, label, want) in [
            ("", "", hash, ("Pod", "p")),
            ("ReplicaSet", "web-7d4b9c", hash, ("Deployment", "web")),
            ("ReplicaSet", "web-7d4b9c", ("rollouts-pod-template-hash", "7d4b9c"), ("Rollout", "web")),
            ("ReplicaSet", "web-7d4b9c", ("app", "web"), ("ReplicaSet", "web-7d4b9c")),
            ("ReplicaSet", "web-other", hash, ("ReplicaSet", "web-other")),
            ("ReplicaSet", "web7d4b9c", hash, ("ReplicaSet", "web7d4b9c")),
            ("ReplicaSet", "-7d4b9c", hash, ("ReplicaSet", "-7d4b9c")),
            ("ReplicaSet", "web-", ("pod-template-hash", ""), ("Deployment", "web")),
            ("Job", "backup-29400015", hash, ("CronJob", "backup")),
            ("Job", "backup-1595450134", hash, ("CronJob", "backup")),
            ("Job", "backup-20261124", hash, ("Job", "backup-20261124")),
            ("Job", "backup-2026112412", hash, ("Job", "backup-2026112412")),
            ("Job", "backup-2940001x", hash, ("Job", "backup-2940001x")),
            ("Job", "backup-+9400015", hash, ("Job", "backup-+9400015")),
            ("Job", "backup-123", hash, ("Job", "backup-123")),
            ("Job", "backup", hash, ("Job", "backup")),
            ("DaemonSet", "agent", hash, ("DaemonSet", "agent")),
            ("StatefulSet", "db", hash, ("StatefulSet", "db")),
            ("Node", "node-1", hash, ("Node", "node-1")),
        ] {
            let owner = (!kind.is_empty()).then_some(Owner { kind, name });
            let got = of("p", owner, |key| (key == label.0).then_some(label.1));
            assert_eq!(got, want, "{kind}/{name} with {label:?}");
        }
    }
}
