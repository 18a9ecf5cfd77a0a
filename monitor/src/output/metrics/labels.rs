//! The labels of the event metrics: which there are, and what an event's are. The one place that knows.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::config::{MetricLabel, MetricLabels};
use crate::identity::unrecorded::Unrecorded;
use crate::identity::{Container, Identity, Pod};
use crate::merge::Event;
use crate::output::escape::escape;
use crate::record::{self, Class, Verdict};

/// The value of every label that could grow without end, once the series limit is reached.
const OTHER: &str = "__other__";

/// A label value's limit in bytes. Kubernetes allows 253 for its names; only a made-up profile is longer.
const VALUE_LIMIT: usize = 256;

/// Of what belongs to none.
static NO_POD: LazyLock<Pod> = LazyLock::new(Pod::default);

/// A label of the event metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Verdict,
    Class,
    Operation,
    Profile,
    Namespace,
    Workload,
    Pod,
    Container,
    Reason,
}

/// The labels of `apparmor_events_total`.
pub(super) const OF_EVENTS: &[Label] = &[
    Label::Verdict,
    Label::Class,
    Label::Operation,
    Label::Profile,
    Label::Namespace,
    Label::Workload,
    Label::Pod,
    Label::Container,
];

/// The labels of `apparmor_last_event_timestamp_seconds`.
pub(super) const OF_LAST_EVENT: &[Label] =
    &[Label::Verdict, Label::Profile, Label::Namespace, Label::Workload, Label::Pod, Label::Container];

/// The labels of `apparmor_silent_denials_total`. `reason` is one because the answers differ: a quiet rule is its
/// author's wish, a quiet kernel is not.
pub(super) const OF_SILENT: &[Label] = &[
    Label::Class,
    Label::Profile,
    Label::Namespace,
    Label::Workload,
    Label::Pod,
    Label::Container,
    Label::Reason,
];

/// Those of `all` that are wanted, in their order.
pub(super) fn chosen(all: &[Label], wanted: &MetricLabels) -> Box<[Label]> {
    all.iter().copied().filter(|label| label.choice().is_none_or(|label| wanted.has(label))).collect()
}

const _: () = assert!(
    OF_EVENTS.len() <= Label::COUNT && OF_LAST_EVENT.len() <= Label::COUNT && OF_SILENT.len() <= Label::COUNT,
    "a series is looked up by all of its labels"
);

impl Label {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Reason as usize + 1;

    /// What it is called where it can be chosen; none for what is always there.
    const fn choice(self) -> Option<MetricLabel> {
        match self {
            Self::Verdict | Self::Class | Self::Reason => None,
            Self::Operation => Some(MetricLabel::Operation),
            Self::Profile => Some(MetricLabel::Profile),
            Self::Namespace => Some(MetricLabel::Namespace),
            Self::Workload => Some(MetricLabel::Workload),
            Self::Pod => Some(MetricLabel::Pod),
            Self::Container => Some(MetricLabel::Container),
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Class => "class",
            Self::Operation => "operation",
            Self::Profile => "profile",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Reason => "reason",
        }
    }
}

/// What one event's labels are; borrowed from it wherever its text is fit to be a label.
#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    verdict: Verdict,
    class: Class,
    operation: &'static str,
    profile: Cow<'a, str>,
    namespace: Cow<'a, str>,
    workload: Cow<'a, str>,
    pod: Cow<'a, str>,
    container: Cow<'a, str>,
    reason: &'static str,
    owner: Owner,
}

/// Whether a series ends some day, with what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The node: never.
    Node,
    /// A pod, of which at least the UID is known.
    Pod,
    /// A container outside of Kubernetes.
    Container,
}

impl<'a> Values<'a> {
    /// The labels of `event`: all that is known of whose it is. A pod without a name goes by its UID, a
    /// container without one by the start of its id.
    pub(super) fn of(event: &Event<'a>) -> Self {
        let violation = event.violation;
        Self {
            verdict: violation.verdict,
            operation: record::operation_label(violation.operation),
            ..Self::whose(
                violation.class,
                profile(violation.profile.unwrap_or_default(), violation.namespace),
                event.subject,
            )
        }
    }

    /// The labels of denials without a record.
    pub(super) fn of_unrecorded(unrecorded: &Unrecorded<'a>) -> Self {
        let denial = unrecorded.denial;
        let namespace = Some(&denial.namespace[..]).filter(|namespace| !namespace.is_empty());
        Self {
            reason: denial.reason.as_str(),
            ..Self::whose(denial.class, profile(&denial.profile, namespace), unrecorded.subject)
        }
    }

    fn whose(class: Class, profile: Cow<'a, str>, subject: &'a Identity) -> Self {
        let container = subject.container.as_deref();
        let pod = container.and_then(|container| container.pod.as_deref());
        let known = pod.unwrap_or(&NO_POD);
        Self {
            verdict: Verdict::Denied,
            class,
            operation: "",
            profile,
            namespace: text(&known.namespace),
            workload: text(&known.workload),
            pod: text(if known.name.is_empty() { &known.uid } else { &known.name }),
            container: container.map(container_name).unwrap_or_default(),
            reason: "",
            owner: match (container, pod) {
                (None, _) => Owner::Node,
                (Some(_), Some(_)) => Owner::Pod,
                (Some(_), None) => Owner::Container,
            },
        }
    }

    /// These, with every value that could grow without end replaced.
    pub(super) fn of_the_rest(&self) -> Values<'static> {
        Values {
            verdict: self.verdict,
            class: self.class,
            operation: self.operation,
            profile: Cow::Borrowed(OTHER),
            namespace: Cow::Borrowed(OTHER),
            workload: Cow::Borrowed(OTHER),
            pod: Cow::Borrowed(OTHER),
            container: Cow::Borrowed(OTHER),
            reason: self.reason,
            owner: Owner::Node,
        }
    }

    /// What these series end with.
    pub(super) const fn owner(&self) -> Owner {
        self.owner
    }

    /// The value of `label`.
    pub(super) fn get(&self, label: Label) -> &str {
        match label {
            Label::Verdict => self.verdict.as_str(),
            Label::Class => self.class.as_str(),
            Label::Operation => self.operation,
            Label::Profile => &self.profile,
            Label::Namespace => &self.namespace,
            Label::Workload => &self.workload,
            Label::Pod => &self.pod,
            Label::Container => &self.container,
            Label::Reason => self.reason,
        }
    }
}

fn text(value: &str) -> Cow<'_, str> {
    escape(value.as_bytes(), VALUE_LIMIT)
}

fn container_name(container: &Container) -> Cow<'_, str> {
    text(if container.name.is_empty() { container.short_id() } else { &container.name })
}

/// A profile as a label: the one that an author wrote, without complain mode's learning profiles, and told
/// apart from a profile of the same name in another policy namespace, as AppArmor itself writes it
/// (`:ns://profile`).
pub(in crate::output) fn profile<'a>(raw: &'a [u8], namespace: Option<&'a [u8]>) -> Cow<'a, str> {
    let base = record::profile_base(raw);
    match namespace.map(|namespace| namespace.strip_prefix(b"root//").unwrap_or(namespace)) {
        None | Some(b"" | b"root") => match base {
            Cow::Borrowed(base) => escape(base, VALUE_LIMIT),
            Cow::Owned(base) => Cow::Owned(escape(&base, VALUE_LIMIT).into_owned()),
        },
        Some(namespace) => {
            let qualified = [b":", namespace, b"://", &base[..]].concat();
            Cow::Owned(escape(&qualified, VALUE_LIMIT).into_owned())
        }
    }
}
