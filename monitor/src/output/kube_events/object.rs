//! An Event as the API server takes it: `events.k8s.io/v1`.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::note::cut;
use super::recorder::{Create, Patch};

/// Who reports: part of what people filter Events by.
pub(super) const CONTROLLER: &str = "aa-monitor";

/// `ReportingInstanceLengthLimit`, pkg/apis/core/validation/events.go.
const INSTANCE_LIMIT: usize = 128;

/// The agent's name in `reportingInstance`: which one it is of those that report.
pub(super) fn instance(node: &str) -> String {
    cut(&format!("{CONTROLLER}-{node}"), INSTANCE_LIMIT)
}

/// The Event to create. Its series is there from the start when it was seen more than once before the API
/// server could be told.
pub(super) fn event(create: &Create, instance: &str) -> Event {
    let Create { key, name, note, first, last, count } = create;
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_string()),
            namespace: Some(key.namespace.to_string()),
            ..ObjectMeta::default()
        },
        action: Some(key.reason.action().to_owned()),
        event_time: Some(micro_time(*first)),
        note: Some(note.clone()),
        reason: Some(key.reason.as_str().to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(key.namespace.to_string()),
            name: Some(key.pod.to_string()),
            uid: Some(key.uid.to_string()),
            field_path: key.field_path(),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        series: (*count >= 2)
            .then(|| EventSeries { count: series_count(*count), last_observed_time: micro_time(*last) }),
        type_: Some(key.reason.kind().to_owned()),
        ..Event::default()
    }
}

/// The merge patch that brings an Event's series up to date.
pub(super) fn series_patch(patch: &Patch) -> Value {
    let last = micro_time(patch.last);
    json!({ "series": { "count": series_count(patch.count), "lastObservedTime": last } })
}

fn series_count(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// With the six digits that the API server demands (`RFC3339Micro`).
fn micro_time(time: SystemTime) -> MicroTime {
    // A clock beyond the year 9999 is not worth losing an Event for.
    MicroTime(Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::subject::{Key, Reason, Subject};
    use super::*;
    use crate::identity::pods::ContainerKind;

    fn create(count: u64) -> Create {
        let subject = Subject {
            reason: Reason::Denied,
            uid: "u-1",
            namespace: "shop",
            pod: "web-0",
            container: "web",
            profile: "p",
            class: "file",
            operation: "open",
        };
        let first = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_450_134_756_789);
        Create {
            key: Key::of(&subject, ContainerKind::Init),
            name: "web-0.1.1".into(),
            note: "n".into(),
            first,
            last: first + Duration::from_secs(1),
            count,
        }
    }

    #[test]
    fn an_event_is_what_describe_pod_looks_for() {
        let text = serde_json::to_value(event(&create(1), "aa-monitor-n")).unwrap();
        let want = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": "web-0.1.1", "namespace": "shop" },
            "action": "Deny",
            "eventTime": "2026-11-23T16:08:54.756789Z",
            "note": "n",
            "reason": "AppArmorDenied",
            "regarding": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-0", "uid": "u-1",
                "fieldPath": "spec.initContainers{web}",
            },
            "reportingController": "aa-monitor",
            "reportingInstance": "aa-monitor-n",
            "type": "Warning",
        });
        assert_eq!(text, want);
    }

    #[test]
    fn a_series_begins_with_two_and_never_overflows() {
        for (count, want) in [(1, None), (2, Some(2)), (u64::MAX, Some(i32::MAX))] {
            let series = event(&create(count), "i").series.map(|series| series.count);
            assert_eq!(series, want, "{count}");
        }
    }

    #[test]
    fn an_instance_fits() {
        assert_eq!(instance("node-1"), "aa-monitor-node-1");
        assert!(instance(&"n".repeat(253)).len() <= INSTANCE_LIMIT);
    }
}
