//! The one container that runs under a profile, if there is exactly one. Pure.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bstr::ByteSlice as _;

use super::Container;
use super::containers::Owner;
use crate::record::profile_base;

/// The container that alone can have run under `profile`, by the labels of all processes (`seen`, as
/// attr/apparmor/current has them). `there` are the containers that have a cgroup: one of which no process is
/// left may have been the one, and then nothing is said.
pub(super) fn container(
    profile: &[u8],
    seen: &[(Vec<u8>, Owner)],
    there: &HashSet<Box<str>>,
) -> Option<Arc<Container>> {
    let mut only: Option<&Arc<Container>> = None;
    let mut running: HashSet<&str> = HashSet::new();
    for (label, owner) in seen {
        if let Owner::Container(container) = owner {
            running.insert(&container.id);
        }
        if !is_under(label, profile) {
            continue;
        }
        match (owner, only) {
            (Owner::Container(container), None) => only = Some(container),
            (Owner::Container(container), Some(known)) if container.id == known.id => {}
            _ => return None,
        }
    }
    if there.iter().any(|id| !running.contains(&**id)) {
        return None;
    }
    only.cloned()
}

/// Whether a label such as `web//&outer (enforce)` is or has `profile`, learning profiles apart.
fn is_under(label: &[u8], profile: &[u8]) -> bool {
    let wanted = profile_base(profile);
    profiles(label).any(|one| one == wanted)
}

/// The profiles of a label.
pub(super) fn profiles(label: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let label = label.trim_ascii_end();
    let label = label.rfind(" (").and_then(|at| label.get(..at)).unwrap_or(label);
    label.split_str("//&").map(profile_base).filter(|one| !matches!(&**one, b"" | b"unconfined"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(id: &str) -> Owner {
        Owner::Container(Arc::new(Container { id: id.into(), ..Container::default() }))
    }

    #[test]
    fn only_what_can_be_no_other_is_told() {
        let row = |label: &str, owner: Owner| (label.as_bytes().to_vec(), owner);
        for (name, seen, there, want) in [
            ("alone", vec![row("web (enforce)\n", owner("a"))], vec!["a"], Some("a")),
            (
                "several processes of one container",
                vec![row("web (enforce)\n", owner("a")), row("web//null-/bin/sh (complain)\n", owner("a"))],
                vec!["a"],
                Some("a"),
            ),
            ("in a stack", vec![row("outer//&web (mixed)", owner("a"))], vec!["a"], Some("a")),
            (
                "others under other profiles",
                vec![
                    row("web (enforce)", owner("a")),
                    row("db (enforce)", owner("b")),
                    row("unconfined", Owner::Host),
                ],
                vec!["a", "b"],
                Some("a"),
            ),
            (
                "two",
                vec![row("web (enforce)", owner("a")), row("web (enforce)", owner("b"))],
                vec!["a", "b"],
                None,
            ),
            (
                "the host too",
                vec![row("web (enforce)", owner("a")), row("web (enforce)", Owner::Host)],
                vec!["a"],
                None,
            ),
            ("the host alone", vec![row("web (enforce)", Owner::Host)], vec![], None),
            ("one that has just ended", vec![row("web (enforce)", owner("a"))], vec!["a", "b"], None),
            ("a longer name", vec![row("web2 (enforce)", owner("a"))], vec!["a"], None),
            ("nobody", vec![], vec![], None),
        ] {
            let there = there.into_iter().map(Into::into).collect();
            let found = container(b"web", &seen, &there);
            assert_eq!(found.as_ref().map(|container| &*container.id), want, "{name}");
        }
    }
}
