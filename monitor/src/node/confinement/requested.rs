//! What a container asked for: its pod's spec, by Kubernetes' own rules of precedence.

use std::borrow::Cow;
use std::fmt;

use crate::identity::pods::{AppArmorRef, KubeContainer, KubePod};

/// The longest profile name that Kubernetes takes (`MaxLocalhostProfileLength`).
const NAME_LIMIT: usize = 4095;

/// What a container asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requested {
    /// The runtime's default profile.
    RuntimeDefault,
    /// A profile that somebody has to load on the node.
    Localhost(Box<str>),
    /// No profile.
    Unconfined,
    /// Nothing: it gets the runtime's default, or no profile when it is privileged.
    Nothing,
    /// Something that has no meaning.
    Invalid(Invalid),
}

/// Why a reference to a profile has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invalid {
    /// `type` is not one of the three.
    Type(Box<str>),
    /// `type: Localhost` without a name.
    NoName,
    /// A name beside another type.
    NameBeside(Box<str>),
    /// A name with space around it, or too long.
    Name(Box<str>),
    /// The annotation is not one of the three forms.
    Annotation(Box<str>),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(kind) => {
                write!(f, "appArmorProfile.type {kind:?} is not one of RuntimeDefault, Localhost, Unconfined")
            }
            Self::NoName => f.write_str("appArmorProfile.type Localhost needs a localhostProfile"),
            Self::NameBeside(kind) => {
                write!(f, "appArmorProfile.localhostProfile is for type Localhost only, not {kind:?}")
            }
            Self::Name(name) => {
                write!(f, "localhostProfile {name:?} begins or ends with space, or is longer than 4095")
            }
            Self::Annotation(value) => write!(
                f,
                "annotation value {value:?} is not one of runtime/default, localhost/<name>, unconfined"
            ),
        }
    }
}

impl Requested {
    /// What `container` of `pod` asked for.
    ///
    /// The container's field, then the container's annotation, then the pod's field: `GetProfile`,
    /// kubernetes/pkg/security/apparmor/helpers.go.
    pub fn of(pod: &KubePod, container: &KubeContainer) -> Self {
        if let Some(field) = &container.app_armor {
            return Self::of_field(field);
        }
        if let Some(annotation) = &container.annotation {
            return Self::of_annotation(annotation);
        }
        pod.app_armor.as_ref().map_or(Self::Nothing, Self::of_field)
    }

    fn of_field(field: &AppArmorRef) -> Self {
        let AppArmorRef { kind, localhost } = field;
        match (&**kind, localhost.as_deref()) {
            ("Localhost", None | Some("")) => Self::Invalid(Invalid::NoName),
            ("Localhost", Some(name)) => Self::localhost(name),
            ("RuntimeDefault" | "Unconfined", Some(_)) => Self::Invalid(Invalid::NameBeside(kind.clone())),
            ("RuntimeDefault", None) => Self::RuntimeDefault,
            ("Unconfined", None) => Self::Unconfined,
            _ => Self::Invalid(Invalid::Type(kind.clone())),
        }
    }

    fn of_annotation(value: &str) -> Self {
        match value.strip_prefix("localhost/") {
            Some(name) if !name.is_empty() => Self::localhost(name),
            None if value == "runtime/default" => Self::RuntimeDefault,
            None if value == "unconfined" => Self::Unconfined,
            Some(_) | None => Self::Invalid(Invalid::Annotation(value.into())),
        }
    }

    fn localhost(name: &str) -> Self {
        if name.trim() == name && name.len() <= NAME_LIMIT {
            Self::Localhost(name.into())
        } else {
            Self::Invalid(Invalid::Name(name.into()))
        }
    }

    /// As a label: the annotation's words, which say it in one.
    pub fn as_label(&self) -> Cow<'_, str> {
        match self {
            Self::RuntimeDefault => "runtime/default".into(),
            Self::Localhost(name) => format!("localhost/{name}").into(),
            Self::Unconfined => "unconfined".into(),
            Self::Nothing => "none".into(),
            Self::Invalid(_) => "invalid".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: &str, localhost: Option<&str>) -> Option<AppArmorRef> {
        Some(AppArmorRef { kind: kind.into(), localhost: localhost.map(Into::into) })
    }

    #[test]
    fn the_containers_field_wins_over_its_annotation_and_that_over_the_pods_field() {
        let localhost = |name: &str| Requested::Localhost(name.into());
        let web = || field("Localhost", Some("web"));
        for (name, pod, annotation, container, want) in [
            ("nothing", None, None, None, Requested::Nothing),
            ("pod", web(), None, None, localhost("web")),
            ("annotation", None, Some("localhost/old"), None, localhost("old")),
            ("annotation over pod", web(), Some("unconfined"), None, Requested::Unconfined),
            (
                "container over both",
                web(),
                Some("unconfined"),
                field("RuntimeDefault", None),
                Requested::RuntimeDefault,
            ),
            ("default", field("RuntimeDefault", None), None, None, Requested::RuntimeDefault),
            ("default, annotated", None, Some("runtime/default"), None, Requested::RuntimeDefault),
            ("unconfined", None, None, field("Unconfined", None), Requested::Unconfined),
            (
                "a name with spaces inside",
                None,
                None,
                field("Localhost", Some("my (odd) web")),
                localhost("my (odd) web"),
            ),
            ("a path", None, Some("localhost//usr/bin/a"), None, localhost("/usr/bin/a")),
            ("a child", None, None, field("Localhost", Some("a//b")), localhost("a//b")),
            (
                "an invalid field is not passed over for a valid annotation",
                None,
                Some("unconfined"),
                field("localhost", Some("web")),
                Requested::Invalid(Invalid::Type("localhost".into())),
            ),
            ("no name", None, None, field("Localhost", None), Requested::Invalid(Invalid::NoName)),
            ("empty name", None, None, field("Localhost", Some("")), Requested::Invalid(Invalid::NoName)),
            ("no type", None, None, field("", None), Requested::Invalid(Invalid::Type("".into()))),
            (
                "a name too many",
                None,
                None,
                field("Unconfined", Some("web")),
                Requested::Invalid(Invalid::NameBeside("Unconfined".into())),
            ),
            (
                "space around",
                None,
                None,
                field("Localhost", Some(" web")),
                Requested::Invalid(Invalid::Name(" web".into())),
            ),
            ("empty annotation", None, Some(""), None, Requested::Invalid(Invalid::Annotation("".into()))),
            (
                "annotation without a name",
                None,
                Some("localhost/"),
                None,
                Requested::Invalid(Invalid::Annotation("localhost/".into())),
            ),
            (
                "the annotation of a field",
                None,
                Some("RuntimeDefault"),
                None,
                Requested::Invalid(Invalid::Annotation("RuntimeDefault".into())),
            ),
        ] {
            let pod = KubePod { app_armor: pod, ..KubePod::default() };
            let container = KubeContainer {
                app_armor: container,
                annotation: annotation.map(Into::into),
                ..KubeContainer::default()
            };
            assert_eq!(Requested::of(&pod, &container), want, "{name}");
        }
    }

    #[test]
    fn a_name_has_a_limit() {
        for (length, fits) in [(NAME_LIMIT, true), (NAME_LIMIT + 1, false)] {
            let requested = Requested::localhost(&"x".repeat(length));
            assert_eq!(matches!(requested, Requested::Localhost(_)), fits, "{length}");
        }
    }
}
