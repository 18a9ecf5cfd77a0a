//! Who: the container, pod and workload that a violation is about, and how that is known.

mod by_profile;
pub mod cgroup;
pub mod containers;
pub mod counts;
pub mod names;
pub mod naming;
pub mod pods;
pub mod process;
pub mod resolver;
pub mod runtime;
mod sightings;
mod sole;
mod still;
pub mod tree;
pub mod unrecorded;
pub mod waiting;

use std::sync::Arc;

/// A pod, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The pod's UID as the API server knows it.
    pub uid: Box<str>,
    /// Its Kubernetes namespace; empty while only the UID is known.
    pub namespace: Box<str>,
    /// Its name; empty while only the UID is known.
    pub name: Box<str>,
    /// The kind of what owns it (`Deployment`, `CronJob`, `Pod` when nothing does); empty while unknown.
    pub workload_kind: Box<str>,
    /// The name of what owns it; its own name when nothing does.
    pub workload: Box<str>,
}

/// A container, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id, 64 hexadecimal digits.
    pub id: Box<str>,
    /// Its name in the pod's spec, or the runtime's name for it; empty while unknown.
    pub name: Box<str>,
    /// Its image; empty while unknown.
    pub image: Box<str>,
    /// The pod it belongs to; none for a container outside of Kubernetes.
    pub pod: Option<Arc<Pod>>,
}

impl Container {
    /// As much of the id as people are shown.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// How an identity was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// By the cgroup that the kernel named at the moment of the violation.
    Cgroup,
    /// By `/proc/<pid>/cgroup` of a process that is still the one that the record is about.
    Proc,
    /// The process is gone, and this is the only container on the node that runs under the profile.
    Profile,
    /// A process of the host: in no container.
    Host,
    /// Not found.
    Unknown(Unknown),
}

/// Why an identity was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// The record has no process id and no cgroup.
    NoProcess,
    /// The process had ended before it could be looked at.
    ProcessGone,
    /// The process id belongs to another process by now.
    PidReused,
    /// The cgroup is one that nothing is known of.
    CgroupUnknown,
    /// The record is about the target of a signal or ptrace, and names only the process that acted.
    VictimUnknown,
    /// Nobody looks: the record is from a log.
    NotLookedFor,
}

impl Unknown {
    /// All reasons, in the order in which they are declared.
    pub const ALL: [Self; 6] = [
        Self::NoProcess,
        Self::ProcessGone,
        Self::PidReused,
        Self::CgroupUnknown,
        Self::VictimUnknown,
        Self::NotLookedFor,
    ];

    /// The word used in labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoProcess => "no_process",
            Self::ProcessGone => "process_gone",
            Self::PidReused => "pid_reused",
            Self::CgroupUnknown => "cgroup_unknown",
            Self::VictimUnknown => "victim_unknown",
            Self::NotLookedFor => "not_looked_for",
        }
    }
}

impl How {
    /// The word used in labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Proc => "proc",
            Self::Profile => "profile",
            Self::Host => "host",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Whose process it was, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The container; none for a process of the host, and where nothing was found.
    pub container: Option<Arc<Container>>,
    /// How it was found.
    pub how: How,
    /// Whether the process is this agent itself.
    pub own: bool,
}

impl Identity {
    /// Nothing is known, for this reason.
    pub const fn unknown(why: Unknown) -> Self {
        Self { container: None, how: How::Unknown(why), own: false }
    }

    /// The pod, when there is one.
    pub fn pod(&self) -> Option<&Pod> {
        self.container.as_ref()?.pod.as_deref()
    }
}
