//! Paths with parts that will be different the next time: which parts, and how it is known.

use std::collections::BTreeMap;

use serde::Serialize;

use super::glob;

/// How far a suggestion may go beyond the names that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    /// Not at all: the names that were seen
    None,
    /// Parts that are known to be made anew each time (process ids, UUIDs, container ids, temporary names), and numbers that two names differ in
    #[default]
    Volatile,
    /// And home directories, versions, and files beside each other with the same ending
    Full,
}

/// One part that was made more general.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Step {
    /// What was seen.
    pub(crate) from: String,
    /// What stands for it.
    pub(crate) to: String,
    /// Why, and what else that lets in.
    pub(crate) why: &'static str,
}

const HEX: &str = "[0-9a-f]*";
const UUID: &str = "[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*";
const NUMBER: &str = "[0-9]*";

/// Folders in which programs make names up.
const TEMPORARY: [&[u8]; 5] = [b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/", b"/var/run/"];

/// The letters of a ReplicaSet's hash and of a pod's suffix (k8s.io/apimachinery/pkg/util/rand): no vowels.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The pattern for one path, by what is known of its parts alone.
pub(crate) fn path(name: &[u8], level: Level) -> (String, Vec<Step>) {
    if level == Level::None {
        return (glob::literal(name), Vec::new());
    }
    let mut steps = Vec::new();
    let temporary = TEMPORARY.iter().any(|folder| name.starts_with(folder));
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    let mut written = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        let before = parts.get(..number).unwrap_or_default();
        written.push(component(before, part, temporary, level, &mut steps));
    }
    let mut text = written.join("/");
    if let Some(rest) = text.strip_prefix("/proc/@{pid}") {
        text = format!("@{{PROC}}/@{{pid}}{rest}");
    }
    if level == Level::Full
        && let [b"", b"home", user, _, ..] = parts.as_slice()
    {
        let user = glob::literal(user);
        if let Some(rest) = text.strip_prefix(&format!("/home/{user}/")) {
            text = format!("@{{HOME}}/{rest}");
            steps.push(Step { from: format!("/home/{user}"), to: "@{HOME}".into(), why: "any user's home" });
        }
    }
    (text, steps)
}

fn component(before: &[&[u8]], part: &[u8], temporary: bool, level: Level, steps: &mut Vec<Step>) -> String {
    let number = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    // As long as the variables of tunables/kernelvars have it; what else looks like a number is a name.
    let pid = number && !part.starts_with(b"0") && (part.len() <= 6 || part.len() == 7 && part < &b"5"[..]);
    let uid = number && part.len() <= 10 && (part == b"0" || !part.starts_with(b"0"));
    let whole = match before {
        [b"", b"proc"] if pid => Some(("@{pid}", "any process")),
        [b"", b"proc", _, b"task"] if pid => Some(("@{tid}", "any thread of it")),
        [b"", b"proc", _, b"fd" | b"fdinfo"] if number => Some((NUMBER, "any of its descriptors")),
        [b"", b"proc", _, b"task", _, b"fd" | b"fdinfo"] if number => {
            Some((NUMBER, "any of its descriptors"))
        }
        [b"", b"run", b"user"] | [b"", b"var", b"run", b"user"] if uid => Some(("@{uid}", "any user")),
        _ => None,
    };
    let mut step = |from: &[u8], to: &str, why| {
        steps.push(Step { from: glob::literal(from), to: to.to_owned(), why });
    };
    if let Some((to, why)) = whole {
        step(part, to, why);
        return to.to_owned();
    }
    if let Some(stem) = replica(part) {
        let to = format!("{}-[a-z0-9]*-[a-z0-9]*", glob::literal(stem));
        step(part, &to, "any pod of the ReplicaSet's name");
        return to;
    }
    if temporary && let Some(stem) = part.len().checked_sub(6).and_then(|at| part.split_at_checked(at)) {
        let (stem, suffix) = stem;
        if made_up(stem, suffix) {
            let to = format!("{}??????", glob::literal(stem));
            step(part, &to, "a temporary name: any six characters");
            return to;
        }
    }
    if let Some(stem) = compiled(part) {
        let to = format!("{}{NUMBER}", glob::literal(stem));
        step(part, &to, "a module's cache being written: any number");
        return to;
    }
    if temporary && python(part) {
        step(part, "tmp????????", "a temporary name: any eight characters");
        return "tmp????????".to_owned();
    }
    let mut text = String::new();
    let mut rest = part;
    while let Some((length, to, why)) = (!rest.is_empty()).then(|| run(rest, level)) {
        let (run, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        match to {
            Some(to) => {
                step(run, to, why);
                text.push_str(to);
            }
            None => text.push_str(&glob::literal(run)),
        }
        rest = after;
    }
    text
}

/// The run at the front: how long it is, and what stands for it when it is volatile.
fn run(text: &[u8], level: Level) -> (usize, Option<&'static str>, &'static str) {
    let length = |inside: &dyn Fn(&u8) -> bool| text.iter().take_while(|byte| inside(byte)).count();
    let hex = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if let Some(uuid) = text.get(..36).filter(|text| is_uuid(text)) {
        return (uuid.len(), Some(UUID), "any UUID");
    }
    let run = length(&hex);
    let ends = !text.get(run).is_some_and(u8::is_ascii_alphanumeric);
    let digest = matches!(run, 32 | 40 | 56 | 64 | 96 | 128) && ends;
    let mixed = text.iter().take(run).any(u8::is_ascii_digit);
    if digest && mixed {
        return (run, Some(HEX), "a container id or hash: any");
    }
    if level == Level::Full {
        let version = length(&|byte| byte.is_ascii_digit() || *byte == b'.');
        let version = text.get(..version).unwrap_or_default();
        let version = version.strip_suffix(b".").unwrap_or(version);
        if version.first().is_some_and(u8::is_ascii_digit) && version.contains(&b'.') {
            return (version.len(), Some(NUMBER), "any version");
        }
    }
    // What is like its first byte goes with it, so that a run never begins in the middle of a word.
    let word = length(&u8::is_ascii_alphanumeric);
    (if is_pod(text) { 3 } else { word.max(1) }, None, "")
}

/// A kubelet writes `pod<uid>`.
fn is_pod(text: &[u8]) -> bool {
    text.strip_prefix(b"pod").is_some_and(|rest| rest.get(..36).is_some_and(is_uuid))
}

fn is_uuid(text: &[u8]) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.iter().enumerate().all(|(at, byte)| {
        if dash(at) {
            matches!(byte, b'-' | b'_')
        } else {
            byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
        }
    })
}

/// mkstemp's six characters behind a separator.
fn made_up(stem: &[u8], suffix: &[u8]) -> bool {
    mixed(suffix) && stem.last().is_none_or(|last| matches!(last, b'.' | b'-' | b'_'))
}

/// Letters and digits of two kinds at least, so that no word is taken for a made-up name.
fn mixed(suffix: &[u8]) -> bool {
    let kinds = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
    let kinds = kinds.iter().filter(|kind| suffix.iter().any(kind)).count();
    suffix.iter().all(u8::is_ascii_alphanumeric) && kinds >= 2
}

/// What Python's tempfile makes: `tmp` and eight of its characters.
fn python(part: &[u8]) -> bool {
    part.strip_prefix(b"tmp").is_some_and(|rest| {
        rest.len() == 8
            && rest.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
    })
}

/// CPython writes a compiled module beside its place, under a name that ends in an object's address
/// (`_write_atomic` of importlib).
fn compiled(part: &[u8]) -> Option<&[u8]> {
    let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (stem, _) = part.len().checked_sub(digits).and_then(|at| part.split_at_checked(at))?;
    (digits >= 8 && stem.ends_with(b".pyc.")).then_some(stem)
}

/// The name of what owns the ReplicaSet, of a pod's name.
fn replica(part: &[u8]) -> Option<&[u8]> {
    let safe = |text: &[u8]| text.iter().all(|byte| SAFE.contains(byte));
    let (rest, pod) = split_last(part)?;
    let (stem, hash) = split_last(rest)?;
    let told = hash.iter().any(u8::is_ascii_digit) || pod.iter().any(u8::is_ascii_digit);
    (pod.len() == 5 && (8..=10).contains(&hash.len()) && safe(pod) && safe(hash) && told && !stem.is_empty())
        .then_some(stem)
}

fn split_last(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|byte| *byte == b'-')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Patterns that say together what several of `patterns` say, each with those that it stands for: those that
/// differ in numbers alone, and for [`Level::Full`] those in one folder with the same ending.
pub(crate) fn together(patterns: &[&str], level: Level) -> Vec<(String, Step, Vec<usize>)> {
    if level == Level::None {
        return Vec::new();
    }
    let mut groups: BTreeMap<Vec<&str>, Vec<usize>> = BTreeMap::new();
    for (number, pattern) in patterns.iter().enumerate() {
        groups.entry(skeleton(pattern)).or_default().push(number);
    }
    let mut found: Vec<_> = groups.values().filter_map(|group| differ_in_numbers(patterns, group)).collect();
    found.extend(made_up_each_time(patterns));
    if level == Level::Full {
        let taken = |number: &usize| found.iter().any(|(_, _, group)| group.contains(number));
        let mut beside: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (number, pattern) in patterns.iter().enumerate().filter(|(number, _)| !taken(number)) {
            // What is general already stays as it is.
            if let Some((folder, name)) = pattern.rsplit_once('/')
                && !name.is_empty()
                && folder.len() > 1
                && !name.contains(['*', '?', '[', '{', '\\'])
            {
                let ending = name.rfind('.').and_then(|at| name.get(at..)).unwrap_or_default();
                beside.entry((folder, ending)).or_default().push(number);
            }
        }
        for ((folder, ending), group) in beside {
            if group.len() >= 2 {
                let to = format!("{folder}/*{ending}");
                let step = Step {
                    from: samples(patterns, &group),
                    to: to.clone(),
                    why: "any such file in the folder",
                };
                found.push((to, step, group));
            }
        }
    }
    found
}

/// A pattern's runs of digits and what is between them, the digits left out.
fn skeleton(pattern: &str) -> Vec<&str> {
    runs(pattern).into_iter().map(|(run, digits)| if digits { "0" } else { run }).collect()
}

fn runs(pattern: &str) -> Vec<(&str, bool)> {
    let mut runs = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.bytes().next() {
        // Not those of a class or an escape, which are none of the name's.
        let digits = first.is_ascii_digit();
        let length = if first == b'[' {
            rest.find(']').map_or(rest.len(), |end| end + 1)
        } else if first == b'\\' {
            rest.len().min(if rest.as_bytes().get(1) == Some(&b'x') { 4 } else { 2 })
        } else {
            rest.bytes()
                .take_while(|byte| byte.is_ascii_digit() == digits && !matches!(byte, b'[' | b'\\'))
                .count()
        };
        let Some((run, after)) = rest.split_at_checked(length.max(1)) else { break };
        runs.push((run, digits));
        rest = after;
    }
    runs
}

fn differ_in_numbers(patterns: &[&str], group: &[usize]) -> Option<(String, Step, Vec<usize>)> {
    let all: Vec<_> = group.iter().filter_map(|number| Some(runs(patterns.get(*number)?))).collect();
    let (first, others) = all.split_first()?;
    let mut text = String::new();
    let mut differs = false;
    for (at, (run, digits)) in first.iter().enumerate() {
        let same = others.iter().all(|other| other.get(at).is_some_and(|(other, _)| other == run));
        if *digits && !same {
            text.push_str(NUMBER);
            differs = true;
        } else {
            text.push_str(run);
        }
    }
    let step =
        Step { from: samples(patterns, group), to: text.clone(), why: "they differ in numbers: any number" };
    (differs && others.iter().any(|other| other != first)).then(|| (text, step, group.to_vec()))
}

/// mkstemp's names without a separator before the six characters: one cannot be told from a word, but two can
/// that differ in them alone. What only looks like a word (one in hundred) is covered by what the others show.
fn made_up_each_time(patterns: &[&str]) -> Vec<(String, Step, Vec<usize>)> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, pattern) in patterns.iter().enumerate() {
        let Some((stem, suffix)) = pattern.len().checked_sub(6).and_then(|at| pattern.split_at_checked(at))
        else {
            continue;
        };
        let temporary = TEMPORARY.iter().any(|folder| pattern.as_bytes().starts_with(folder));
        // An escape is not cut in two.
        let whole = !stem.ends_with('/') && !stem.bytes().rev().take(3).any(|byte| byte == b'\\');
        if temporary && whole && mixed(suffix.as_bytes()) {
            groups.entry(stem).or_default().push(number);
        }
    }
    let told = |(stem, group): (&str, Vec<usize>)| {
        let to = format!("{stem}??????");
        let step = Step {
            from: samples(patterns, &group),
            to: to.clone(),
            why: "they differ in six characters, as temporary names do: any six",
        };
        (group.len() >= 2).then_some((to, step, group))
    };
    groups.into_iter().filter_map(told).collect()
}

fn samples(patterns: &[&str], group: &[usize]) -> String {
    let shown: Vec<_> = group.iter().take(2).filter_map(|number| patterns.get(*number).copied()).collect();
    let more = group.len() - shown.len();
    if more == 0 { shown.join(" and ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suggest::glob::Matcher;
    use crate::suggest::profile::builtin;

    #[test]
    fn only_what_is_known_to_change_is_made_general() {
        let id = "4f1c9b6a7d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e";
        let with_id = format!("/run/containerd/{id}/x");
        let rows: &[(&str, &str, &str)] = &[
            ("/proc/123/stat", "@{PROC}/@{pid}/stat", "@{PROC}/@{pid}/stat"),
            ("/proc/123/task/7/comm", "@{PROC}/@{pid}/task/@{tid}/comm", "@{PROC}/@{pid}/task/@{tid}/comm"),
            ("/proc/1/fd/3", "@{PROC}/@{pid}/fd/[0-9]*", "@{PROC}/@{pid}/fd/[0-9]*"),
            ("/proc/sys/net", "/proc/sys/net", "/proc/sys/net"),
            ("/proc/007/stat", "/proc/007/stat", "/proc/007/stat"),
            ("/proc/4194304/stat", "@{PROC}/@{pid}/stat", "@{PROC}/@{pid}/stat"),
            ("/proc/5000000/stat", "/proc/5000000/stat", "/proc/5000000/stat"),
            ("/proc/12345678/stat", "/proc/12345678/stat", "/proc/12345678/stat"),
            ("/run/user/0/bus", "/run/user/@{uid}/bus", "/run/user/@{uid}/bus"),
            ("/run/user/01/bus", "/run/user/01/bus", "/run/user/01/bus"),
            ("/run/user/1000/bus", "/run/user/@{uid}/bus", "/run/user/@{uid}/bus"),
            (&with_id, "/run/containerd/[0-9a-f]*/x", "/run/containerd/[0-9a-f]*/x"),
            (
                "/var/lib/kubelet/pods/0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f/x",
                "/var/lib/kubelet/pods/[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*/x",
                "/var/lib/kubelet/pods/[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*/x",
            ),
            (
                "/kubepods/pod0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f",
                "/kubepods/pod[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*",
                "/kubepods/pod[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*-[0-9a-f]*",
            ),
            ("/tmp/sess.aB3xY9", "/tmp/sess.??????", "/tmp/sess.??????"),
            ("/tmp/aB3xY9", "/tmp/??????", "/tmp/??????"),
            ("/tmp/secret", "/tmp/secret", "/tmp/secret"),
            (
                "/l/__pycache__/a.cpython-313.pyc.139976872125680",
                "/l/__pycache__/a.cpython-313.pyc.[0-9]*",
                "/l/__pycache__/a.cpython-313.pyc.[0-9]*",
            ),
            ("/l/a.pyc.1", "/l/a.pyc.1", "/l/a.pyc.1"),
            ("/tmp/tmpab3_9xyz", "/tmp/tmp????????", "/tmp/tmp????????"),
            ("/etc/sess.aB3xY9", "/etc/sess.aB3xY9", "/etc/sess.aB3xY9"),
            (
                "/var/log/pods/web-5d4f8c7b9d-x2k4z/0.log",
                "/var/log/pods/web-[a-z0-9]*-[a-z0-9]*/0.log",
                "/var/log/pods/web-[a-z0-9]*-[a-z0-9]*/0.log",
            ),
            ("/a/nginx-conf-files", "/a/nginx-conf-files", "/a/nginx-conf-files"),
            ("/home/eve/.cache/x", "/home/eve/.cache/x", "@{HOME}/.cache/x"),
            ("/usr/lib/python3.11/os.py", "/usr/lib/python3.11/os.py", "/usr/lib/python3.11/os.py"),
            ("/usr/lib/libc-2.36.so", "/usr/lib/libc-2.36.so", "/usr/lib/libc-[0-9]*.so"),
            ("/a*b[c", "/a\\*b\\[c", "/a\\*b\\[c"),
        ];
        for (name, volatile, full) in rows {
            assert_eq!(path(name.as_bytes(), Level::None).0, glob::literal(name.as_bytes()), "{name}");
            for (level, want) in [(Level::Volatile, volatile), (Level::Full, full)] {
                let (got, steps) = path(name.as_bytes(), level);
                assert_eq!(got, *want, "{name}");
                assert_eq!(
                    steps.is_empty(),
                    got == glob::literal(name.as_bytes()),
                    "{name}: each step is told"
                );
                let matcher = Matcher::new(&got, &builtin()).unwrap();
                assert!(matcher.matches(name.as_bytes()), "{got} matches {name}");
            }
        }
    }

    #[test]
    fn samples_that_differ_show_what_varies() {
        type Row<'a> = (&'a [&'a str], Level, &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            (&["/dev/sda1", "/dev/sda2", "/dev/sdb1"], Level::Volatile, &["/dev/sda[0-9]*"]),
            (&["/dev/sda1", "/dev/sda2"], Level::None, &[]),
            (&["/dev/sda1", "/dev/sda1"], Level::Volatile, &[]),
            (&["/a/1/x", "/a/2/y"], Level::Volatile, &[]),
            (&["/v1/x2", "/v1/x3"], Level::Volatile, &["/v1/x[0-9]*"]),
            (&["/a/b.conf", "/a/c.conf", "/a/d"], Level::Full, &["/a/*.conf"]),
            (&["/a/b.conf", "/a/c.conf"], Level::Volatile, &[]),
            (&["/a", "/b"], Level::Full, &[]),
            (&["/tmp/sed6Ef4Ci", "/tmp/sedThOnRS", "/tmp/sedative"], Level::Volatile, &["/tmp/sed??????"]),
            (&["/tmp/sed6Ef4Ci"], Level::Volatile, &[]),
            (&["/etc/sed6Ef4Ci", "/etc/sedThOnRS"], Level::Volatile, &[]),
            (&["/tmp/x\\x206Ef4C", "/tmp/x\\x20ThOn"], Level::Volatile, &[]),
            (&["/tmp/x\\a6Ef4C", "/tmp/x\\aThOnR"], Level::Volatile, &[]),
            (&[r"/a\x20b", r"/a\x21b"], Level::Volatile, &[]),
        ];
        for (patterns, level, want) in rows {
            let got = together(patterns, *level);
            let got: Vec<_> = got.iter().map(|(text, _, _)| text.as_str()).collect();
            assert_eq!(got, *want, "{patterns:?}");
        }
    }
}
