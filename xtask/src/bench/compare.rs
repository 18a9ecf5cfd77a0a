//! Two readings of the same log, field by field. A parser that reads less is no yardstick for speed, so
//! every difference must have a name.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

/// The keys that libapparmor's grammar has; a record with any other is refused as a whole.
const ITS_KEYS: &str = "FSUID OUID addr apparmor attribute auid bus capability capname class comm daddr \
    denied denied_mask dest error exe execpath faddr family flags fport fstype fsuid hostname info interface \
    label laddr lport magic_token mask member method msg name name2 namespace offset operation ouid parent \
    path peer peer_addr peer_info peer_label peer_pid peer_profile pid profile protocol requested \
    requested_mask saddr sauid ses signal sock_type src srcname target task tcontext terminal type uid";

/// What came out of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Records compared.
    pub(crate) records: usize,
    /// Orders of keys and kinds of value among them.
    pub(crate) shapes: usize,
    /// Records that both read, every field the same.
    pub(crate) same: usize,
    /// Differences that are explained: why, and in how many records.
    pub(crate) explained: BTreeMap<String, usize>,
    /// Differences that are not: the record, the field, ours, theirs.
    pub(crate) unexplained: Vec<String>,
}

/// Compares what `ours` and `theirs` told about each record of a log.
pub(crate) fn compare(log: &str, ours: &str, theirs: &str) -> Result<Comparison> {
    let count = log.lines().count();
    let told = [ours.lines().count(), theirs.lines().count()];
    ensure!(told == [count, count], "{count} records, and the programs tell of {told:?}");
    let mut shapes = BTreeSet::new();
    let mut found = Comparison { records: count, ..Comparison::default() };
    for ((record, ours), theirs) in log.lines().zip(ours.lines()).zip(theirs.lines()) {
        shapes.insert(shape(record));
        let (ours, theirs) = (fields(ours), fields(theirs));
        if ours == theirs {
            found.same += 1;
            continue;
        }
        if theirs.get("verdict") == Some(&"invalid") {
            match refusal(record) {
                Some(why) => *found.explained.entry(why).or_insert(0) += 1,
                None => found.unexplained.push(format!("{record}\n    it refuses this record")),
            }
            continue;
        }
        let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).copied().collect();
        for key in keys {
            let (our, their) = (ours.get(key).copied(), theirs.get(key).copied());
            if our == their {
                continue;
            }
            match difference(key, our, their) {
                Some(why) => *found.explained.entry(why.to_owned()).or_insert(0) += 1,
                None => {
                    let text = format!("{record}\n    {key}: ours {our:?}, libapparmor's {their:?}");
                    found.unexplained.push(text);
                }
            }
        }
    }
    found.shapes = shapes.len();
    Ok(found)
}

fn fields(line: &str) -> BTreeMap<&str, &str> {
    line.split('\t').filter_map(|field| field.split_once('=')).collect()
}

/// The keys of a record in their order, each with how its value is written.
fn shape(record: &str) -> String {
    keys(record).map(|(key, value)| format!("{key}{} ", value.get(..1).unwrap_or("-"))).collect()
}

/// The keys of a record, with what follows each.
fn keys(record: &str) -> impl Iterator<Item = (&str, &str)> {
    // Between the quotes of a value there is no key.
    record.split('"').step_by(2).flat_map(|plain| plain.split([' ', '\''])).filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        Some((key, if value.is_empty() { "\"" } else { value }))
    })
}

/// Why libapparmor refuses a record that ours reads.
fn refusal(record: &str) -> Option<String> {
    if record.contains("apparmor=\"KILLED\"") {
        return Some("refuses apparmor=\"KILLED\"".into());
    }
    if let Some((key, _)) = keys(record).find(|(key, _)| !ITS_KEYS.split_whitespace().any(|its| its == *key))
    {
        return Some(format!("refuses a record with {key}="));
    }
    None
}

/// Why a field differs.
fn difference(key: &str, ours: Option<&str>, theirs: Option<&str>) -> Option<&'static str> {
    match (key, ours, theirs) {
        ("error", Some(ours), Some(theirs)) if ours.strip_prefix('-') == Some(theirs) => {
            Some("drops the sign of error=")
        }
        ("addr" | "peer_addr", Some("none"), None) => Some("leaves addr=none out"),
        (_, Some(ours), Some(theirs)) if ours.replace(r"\x5c", "") == theirs => {
            Some("takes a backslash for an escape, which the kernel does not write")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn differences_have_names_or_are_reported() {
        let rows = [
            (
                "the same",
                r#"apparmor="DENIED" operation="open""#,
                "verdict=denied\tpid=1",
                "verdict=denied\tpid=1",
                1,
                None,
                0,
            ),
            (
                "the sign",
                "error=-13",
                "verdict=denied\terror=-13",
                "verdict=denied\terror=13",
                0,
                Some("drops the sign of error="),
                0,
            ),
            (
                "another error",
                "error=-13",
                "verdict=denied\terror=-13",
                "verdict=denied\terror=1",
                0,
                None,
                1,
            ),
            (
                "killed",
                r#"apparmor="KILLED""#,
                "verdict=killed",
                "verdict=invalid",
                0,
                Some("refuses apparmor=\"KILLED\""),
                0,
            ),
            (
                "a key",
                r#"apparmor="DENIED" rlimit=nofile"#,
                "verdict=denied",
                "verdict=invalid",
                0,
                Some("refuses a record with rlimit="),
                0,
            ),
            (
                "no key, in quotes",
                r#"apparmor="DENIED" name="/a rlimit=x""#,
                "verdict=denied",
                "verdict=invalid",
                0,
                None,
                1,
            ),
            ("one more", "pid=1", "verdict=denied\tpid=1", "verdict=denied", 0, None, 1),
            (
                "a backslash",
                r#"name="a\b""#,
                "verdict=denied\tname=a\\x5cb",
                "verdict=denied\tname=ab",
                0,
                Some("takes a backslash for an escape, which the kernel does not write"),
                0,
            ),
        ];
        for (name, log, ours, theirs, same, explained, unexplained) in rows {
            let found = compare(log, ours, theirs).unwrap();
            assert_eq!(found.same, same, "{name}");
            assert_eq!(found.explained.keys().map(String::as_str).next(), explained, "{name}");
            assert_eq!(found.unexplained.len(), unexplained, "{name}");
        }
    }

    #[test]
    fn a_missing_line_is_an_error() {
        assert!(compare("a=1\nb=1", "verdict=denied", "verdict=denied").is_err());
    }
}
