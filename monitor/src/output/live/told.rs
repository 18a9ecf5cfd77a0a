//! Events as they are sent.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use crate::identity::Identity;
use crate::identity::unrecorded::Unrecorded;
use crate::merge::Event;
use crate::output::escape::escape;
use crate::output::{SILENT, detail, json};
use crate::record::{Class, profile_base, words};

/// More of one name no line shows.
const NAME_LIMIT: usize = 256;

/// What events are filtered by.
#[derive(Debug)]
pub(super) struct Marks {
    pub(super) verdict: &'static str,
    pub(super) class: Class,
    pub(super) profile: String,
    pub(super) pod: String,
    pub(super) namespace: String,
}

impl Marks {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let violation = event.violation;
        let profile = violation.profile.unwrap_or_default();
        Self::new(violation.verdict.as_str(), violation.class, profile, event.subject)
    }

    fn new(verdict: &'static str, class: Class, profile: &[u8], subject: &Identity) -> Self {
        let pod = subject.pod();
        Self {
            verdict,
            class,
            profile: safe(&profile_base(profile)),
            pod: pod.map(|pod| pod.name.to_string()).unwrap_or_default(),
            namespace: pod.map(|pod| pod.namespace.to_string()).unwrap_or_default(),
        }
    }
}

/// An event as it is sent.
#[derive(Debug)]
pub(super) struct Told {
    /// The event as one JSON object, without the newline.
    json: Vec<u8>,
    /// The same for people, in which nothing acts.
    shown: String,
    marks: Marks,
}

impl Told {
    pub(super) fn event(event: &Event<'_>) -> io::Result<Self> {
        let violation = event.violation;
        let marks = Marks::of(event);
        let time = UNIX_EPOCH + Duration::from_nanos(violation.time.unwrap_or_default());
        let shown = format!(
            "{} {:<7} {:<10} {} {} {} {}",
            humantime::format_rfc3339_millis(time),
            violation.verdict,
            violation.class,
            marks.profile,
            who(event.subject),
            safe(violation.comm.unwrap_or(b"-")),
            detail::detail(violation)
        );
        let json = rendered(|line| json::write_line(line, event))?;
        Ok(Self { json, shown, marks })
    }

    pub(super) fn unrecorded(unrecorded: &Unrecorded<'_>) -> io::Result<Self> {
        let Unrecorded { denial, subject } = *unrecorded;
        let marks = Marks::new(SILENT, denial.class, &denial.profile, subject);
        let what = what(unrecorded);
        let shown = format!(
            "{} {SILENT:<7} {:<10} {} {} - {what}{}[{}, {} times]",
            humantime::format_rfc3339_millis(denial.read),
            denial.class,
            marks.profile,
            who(subject),
            if what.is_empty() { "" } else { " " },
            denial.reason.as_str(),
            denial.count
        );
        let json = rendered(|line| json::write_unrecorded(line, unrecorded))?;
        Ok(Self { json, shown, marks })
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The line of an answer, without the newline.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = b"{\"shown\":".to_vec();
        line.extend(serde_json::to_vec(&self.shown).unwrap_or_default());
        line.extend_from_slice(b",\"event\":");
        line.extend_from_slice(&self.json);
        line.push(b'}');
        line
    }

    /// The memory of what it points to.
    pub(super) fn beside(&self) -> usize {
        let Marks { verdict: _, class: _, profile, pod, namespace } = &self.marks;
        self.json.len() + self.shown.len() + profile.len() + pod.len() + namespace.len()
    }
}

fn rendered(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    write(&mut line)?;
    line.pop();
    Ok(line)
}

fn safe(bytes: &[u8]) -> String {
    escape(bytes, NAME_LIMIT).into_owned()
}

/// `namespace/pod/container`, the start of a container's id, or `-` for the host.
pub(super) fn who(subject: &Identity) -> String {
    match (&subject.container, subject.pod()) {
        (Some(container), Some(pod)) if !pod.name.is_empty() => {
            safe(format!("{}/{}/{}", pod.namespace, pod.name, container.name).as_bytes())
        }
        (Some(container), _) => safe(container.short_id().as_bytes()),
        (None, _) => "-".to_owned(),
    }
}

/// What was refused without a record: a capability by its name, else the operation and its first object.
pub(super) fn what(unrecorded: &Unrecorded<'_>) -> String {
    let denial = unrecorded.denial;
    if let Some(number) = denial.capability {
        return words::capability(number).map_or_else(|| format!("capability {number}"), safe);
    }
    let words = [&denial.operation, &denial.example].into_iter().filter(|word| !word.is_empty());
    words.map(|word| safe(word)).collect::<Vec<_>>().join(" ")
}
