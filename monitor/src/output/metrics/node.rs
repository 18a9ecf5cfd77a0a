//! What the node has loaded, and how its containers are confined.

use std::borrow::Cow;
use std::collections::BTreeSet;

use prometheus::proto::MetricFamily;

use super::names::{self, Name};
use super::{Row, counters, gauges};
use crate::node::Node;
use crate::node::confinement::board::{self, What};
use crate::node::label::Mode;
use crate::node::profiles::CHANGES;
use crate::output::escape::escape;

/// Profiles that have a series of their own.
const PROFILES_LIMIT: usize = 1_000;
/// Containers that have series of their own.
const CONTAINERS_LIMIT: usize = 2_000;
/// A label value's limit in bytes.
const VALUE_LIMIT: usize = 256;

/// The node's state as it was last read.
pub(super) fn families(node: &Node) -> Vec<MetricFamily> {
    let (mut families, left_out) = profiles(node);
    let rows = node.confinement.rows();
    let told = rows.get(..CONTAINERS_LIMIT).unwrap_or(&rows);
    families.extend(containers(told));
    let left_out = [("profiles", left_out), ("containers", rows.len() - told.len())];
    families
        .push(gauges(names::LEFT_OUT, left_out.map(|(what, count)| (vec![("what", what)], count as f64))));
    families
}

fn profiles(node: &Node) -> (Vec<MetricFamily>, usize) {
    let changes = CHANGES.into_iter().zip(node.profiles.changes());
    let changes = changes.map(|(operation, count)| (vec![("operation", operation)], count as f64));
    let mut families = vec![counters(names::POLICY_CHANGES, changes)];
    let features = node.profiles.features();
    if !features.classes.is_empty() {
        let abi = features.abi.map(|abi| abi.to_string()).unwrap_or_default();
        let classes = features.classes.join(" ");
        families.push(gauges(names::FEATURES, [(vec![("abi", &*abi), ("classes", &*classes)], 1.0)]));
    }
    // Of a list that cannot be read nothing is said, least of all that it is empty.
    let Ok(inventory) = node.profiles.inventory() else { return (families, 0) };
    let counts = Mode::ALL.map(|mode| (vec![("mode", mode.as_str())], inventory.count(mode) as f64));
    families.push(gauges(names::PROFILES, counts));
    let info: Vec<_> = inventory
        .profiles()
        .take(PROFILES_LIMIT)
        .map(|(name, mode)| (escape(name, VALUE_LIMIT), mode.as_str()))
        .collect();
    let unique: BTreeSet<_> = info.iter().map(|(name, mode)| (&**name, *mode)).collect();
    let left_out = inventory.left_out + inventory.len() - unique.len();
    let info = unique.into_iter().map(|(name, mode)| (vec![("profile", name), ("mode", mode)], 1.0));
    families.push(gauges(names::PROFILE_INFO, info));
    (families, left_out)
}

/// The metrics about findings, and what each is about.
const FINDINGS: [(Name, What); 4] = [
    (names::MISSING, What::Missing),
    (names::MISMATCH, What::Mismatch),
    (names::INVALID, What::Invalid),
    (names::NOT_ALLOWED, What::NotAllowed),
];

fn containers(rows: &[board::Row]) -> Vec<MetricFamily> {
    // A set, because a scrape with the same series twice is refused as a whole.
    let mut info = BTreeSet::new();
    let mut findings = FINDINGS.map(|(name, what)| (name, what, BTreeSet::new()));
    for row in rows {
        let Some(container) = row.container() else { continue };
        let pod = &row.pod.pod;
        let place = [&*pod.namespace, &*pod.name, &*container.name];
        if let Some(applied) = &row.applied {
            let requested = label(row.requested.as_label().as_bytes());
            info.insert((place, requested, label(&applied.name), applied.mode.as_str()));
        }
        for finding in &row.findings {
            for (_, _, found) in findings.iter_mut().filter(|(_, what, _)| *what == finding.what) {
                found.insert((place, label(finding.profile.as_bytes())));
            }
        }
    }
    let info = info.iter().map(|(place, requested, profile, mode)| {
        let more = [("requested", &**requested), ("profile", &**profile), ("mode", *mode)];
        (place_labels(*place).into_iter().chain(more).collect(), 1.0)
    });
    let mut families = vec![gauges(names::CONFINEMENT_INFO, info.collect::<Vec<Row<'_>>>())];
    for (name, _, found) in &findings {
        let rows = found.iter().map(|(place, profile)| {
            (place_labels(*place).into_iter().chain([("profile", &**profile)]).collect(), 1.0)
        });
        families.push(gauges(*name, rows.collect::<Vec<Row<'_>>>()));
    }
    families
}

fn place_labels([namespace, pod, container]: [&str; 3]) -> [(&str, &str); 3] {
    [("namespace", namespace), ("pod", pod), ("container", container)]
}

fn label(bytes: &[u8]) -> Box<str> {
    match escape(bytes, VALUE_LIMIT) {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}
