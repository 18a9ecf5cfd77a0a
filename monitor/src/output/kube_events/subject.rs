//! What an Event is about: the container it regards, and what makes two sightings the same Event.

use std::hash::{Hash, Hasher};

use hashbrown::Equivalent;

use crate::identity::pods::ContainerKind;

/// Why there is an Event: its `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// A profile refused something.
    Denied,
    /// A complain-mode profile would have refused something.
    WouldDeny,
    /// A profile killed a process.
    Killed,
    /// A container asks for a profile that this node has not loaded.
    ProfileMissing,
    /// A container runs under another profile than the one it asked for.
    ProfileMismatch,
    /// A container's reference to a profile has no meaning.
    ProfileInvalid,
    /// A container asks for a profile that is not on the list for its namespace.
    ProfileNotAllowed,
}

impl Reason {
    /// The Event's `reason`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "AppArmorDenied",
            Self::WouldDeny => "AppArmorWouldDeny",
            Self::Killed => "AppArmorKilled",
            Self::ProfileMissing => "AppArmorProfileMissing",
            Self::ProfileMismatch => "AppArmorProfileMismatch",
            Self::ProfileInvalid => "AppArmorProfileInvalid",
            Self::ProfileNotAllowed => "AppArmorProfileNotAllowed",
        }
    }

    /// The Event's `type`: what nobody was refused is not a warning.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::WouldDeny => "Normal",
            _ => "Warning",
        }
    }

    /// The Event's `action`: what was done or failed.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Denied => "Deny",
            Self::WouldDeny => "Allow",
            Self::Killed => "Kill",
            Self::ProfileMissing | Self::ProfileMismatch | Self::ProfileInvalid => "Confine",
            Self::ProfileNotAllowed => "Check",
        }
    }
}

/// The container that an Event regards, and what is the same for all its sightings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject<'a> {
    /// Why.
    pub(crate) reason: Reason,
    /// The pod's UID: `kubectl describe pod` looks Events up by it.
    pub(crate) uid: &'a str,
    /// The pod's namespace, and so the Event's.
    pub(crate) namespace: &'a str,
    /// The pod's name.
    pub(crate) pod: &'a str,
    /// The container's name; empty for the pod as a whole.
    pub(crate) container: &'a str,
    /// The profile, as a label.
    pub(crate) profile: &'a str,
    /// The class of what was mediated; empty when that does not apply.
    pub(crate) class: &'a str,
    /// The operation; what tells findings of one reason apart.
    pub(crate) operation: &'a str,
}

impl Subject<'_> {
    fn identity(&self) -> (Reason, [&str; 5]) {
        (self.reason, [self.uid, self.container, self.profile, self.class, self.operation])
    }
}

impl Hash for Subject<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// A [`Subject`] that is kept.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) reason: Reason,
    pub(super) uid: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) pod: Box<str>,
    pub(super) container: Box<str>,
    kind: ContainerKind,
    profile: Box<str>,
    class: Box<str>,
    operation: Box<str>,
}

impl Key {
    pub(super) fn of(subject: &Subject<'_>, kind: ContainerKind) -> Self {
        let Subject { reason, uid, namespace, pod, container, profile, class, operation } = *subject;
        Self {
            reason,
            uid: uid.into(),
            namespace: namespace.into(),
            pod: pod.into(),
            container: container.into(),
            kind,
            profile: profile.into(),
            class: class.into(),
            operation: operation.into(),
        }
    }

    /// `spec.containers{web}`; none for the pod as a whole.
    pub(super) fn field_path(&self) -> Option<String> {
        let list = match self.kind {
            ContainerKind::Regular => "containers",
            ContainerKind::Init => "initContainers",
            ContainerKind::Ephemeral => "ephemeralContainers",
        };
        (!self.container.is_empty()).then(|| format!("spec.{list}{{{}}}", self.container))
    }

    fn identity(&self) -> (Reason, [&str; 5]) {
        let texts = [&*self.uid, &*self.container, &*self.profile, &*self.class, &*self.operation];
        (self.reason, texts)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// So that a sighting of a known key allocates nothing.
impl Equivalent<Key> for Subject<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.identity() == key.identity()
    }
}
