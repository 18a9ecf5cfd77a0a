//! Which Events the API server takes: `events.k8s.io/v1`, as validated by pkg/apis/core/validation/events.go.

use serde_json::Value;

use super::answer::Refusal;

const NOTE_LIMIT: usize = 1024;
const REASON_LIMIT: usize = 128;
const ACTION_LIMIT: usize = 128;
const INSTANCE_LIMIT: usize = 128;
const NAME_LIMIT: usize = 253;

/// What an older API had; a new client must leave it alone.
const DEPRECATED: [&str; 4] =
    ["deprecatedCount", "deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedSource"];

/// What an Event says for ever.
const IMMUTABLE: [&str; 9] = [
    "note",
    "reason",
    "type",
    "action",
    "regarding",
    "related",
    "reportingController",
    "reportingInstance",
    "eventTime",
];

/// Whether an Event may be created.
pub(super) fn create(event: &Value) -> Result<(), Refusal> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = text("/metadata/name");
    demand(is_subdomain(name), "metadata.name: must be a lower case RFC 1123 subdomain")?;
    demand(text("/note").len() <= NOTE_LIMIT, "note: can have at most 1024 characters")?;
    for (field, limit) in
        [("/reason", REASON_LIMIT), ("/action", ACTION_LIMIT), ("/reportingInstance", INSTANCE_LIMIT)]
    {
        let name = field.trim_start_matches('/');
        demand(!text(field).is_empty(), &format!("{name}: Required value"))?;
        demand(text(field).len() <= limit, &format!("{name}: can have at most {limit} characters"))?;
    }
    demand(is_qualified_name(text("/reportingController")), "reportingController: must be a qualified name")?;
    demand(matches!(text("/type"), "Normal" | "Warning"), "type: has invalid value")?;
    demand(is_micro_time(text("/eventTime")), "eventTime: Required value, with microseconds")?;
    demand(
        text("/metadata/namespace") == text("/regarding/namespace"),
        "regarding.namespace: does not match event.namespace",
    )?;
    // The server takes it without; `kubectl describe pod` then does not show it.
    demand(!text("/regarding/uid").is_empty(), "regarding.uid: nobody finds this Event")?;
    for field in DEPRECATED {
        demand(event.get(field).is_none_or(is_empty), &format!("{field}: needs to be unset"))?;
    }
    series(event)
}

/// Whether an Event may become `new`.
pub(super) fn update(old: &Value, new: &Value) -> Result<(), Refusal> {
    for field in IMMUTABLE {
        demand(old.get(field) == new.get(field), &format!("{field}: field is immutable"))?;
    }
    for field in DEPRECATED {
        demand(new.get(field).is_none_or(is_empty), &format!("{field}: needs to be unset"))?;
    }
    series(new)
}

fn series(event: &Value) -> Result<(), Refusal> {
    let Some(series) = event.get("series").filter(|series| !series.is_null()) else { return Ok(()) };
    let count = series.get("count").and_then(Value::as_i64);
    demand(
        count.is_some_and(|count| (2..=i64::from(i32::MAX)).contains(&count)),
        "series.count: should be at least 2",
    )?;
    let last = series.get("lastObservedTime").and_then(Value::as_str).unwrap_or_default();
    demand(is_micro_time(last), "series.lastObservedTime: Required value, with microseconds")
}

fn demand(holds: bool, message: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::new(422, format!("Event is invalid: {message}"))) }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Array(_) => false,
    }
}

/// `2026-11-23T16:08:54.756789Z`: `RFC3339Micro`, what a MicroTime is read from.
fn is_micro_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
}

fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(plain)
    };
    text.len() <= NAME_LIMIT && text.split('.').all(label)
}

fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    prefix.is_none_or(is_subdomain)
        && name.len() <= 63
        && name.bytes().all(plain)
        && ends(name.bytes().next())
        && ends(name.bytes().last())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "metadata": { "name": "web-0.1", "namespace": "shop" },
            "action": "Deny", "reason": "AppArmorDenied", "type": "Warning", "note": "n",
            "eventTime": "2026-11-23T16:08:54.756789Z",
            "regarding": { "kind": "Pod", "namespace": "shop", "name": "web-0", "uid": "u" },
            "reportingController": "aa-monitor", "reportingInstance": "aa-monitor-n",
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut event = event();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[field] = value;
        event
    }

    #[test]
    fn every_rule_of_creation_refuses_what_breaks_it() {
        assert!(create(&event()).is_ok());
        let last = json!("2026-11-23T16:08:54.000000Z");
        assert!(create(&with("/series", json!({ "count": 2, "lastObservedTime": last }))).is_ok());
        for (pointer, value) in [
            ("/metadata/name", json!("Web")),
            ("/metadata/name", json!("a".repeat(254))),
            ("/metadata/name", json!("a..b")),
            ("/note", json!("é".repeat(513))),
            ("/reason", json!("")),
            ("/reason", json!("r".repeat(129))),
            ("/action", json!("")),
            ("/action", Value::Null),
            ("/action", json!("a".repeat(129))),
            ("/reportingController", json!("")),
            ("/reportingController", json!("aa monitor")),
            ("/reportingController", json!("-aa")),
            ("/reportingInstance", json!("")),
            ("/reportingInstance", json!("i".repeat(129))),
            ("/type", json!("Error")),
            ("/eventTime", Value::Null),
            ("/eventTime", json!("2026-11-23T16:08:54Z")),
            ("/eventTime", json!("2026-11-23T16:08:54.756Z")),
            ("/regarding/namespace", json!("other")),
            ("/regarding/uid", json!("")),
            ("/deprecatedCount", json!(1)),
            ("/deprecatedSource", json!({ "component": "x" })),
            ("/deprecatedFirstTimestamp", json!("2026-11-23T16:08:54Z")),
            ("/series", json!({ "count": 1, "lastObservedTime": last })),
            ("/series", json!({ "count": 2 })),
            ("/series", json!({ "count": 2, "lastObservedTime": "2026-11-23T16:08:54Z" })),
        ] {
            assert!(create(&with(pointer, value.clone())).is_err(), "{pointer}: {value}");
        }
    }

    #[test]
    fn only_the_series_may_change() {
        let last = "2026-11-23T16:08:54.000000Z";
        let changed = |count: u32| with("/series", json!({ "count": count, "lastObservedTime": last }));
        assert!(update(&event(), &changed(2)).is_ok());
        assert!(update(&changed(2), &changed(3)).is_ok());
        assert!(update(&event(), &changed(1)).is_err());
        for field in IMMUTABLE {
            let new = with(&format!("/{field}"), json!("changed"));
            assert!(update(&event(), &new).is_err(), "{field}");
        }
    }
}
