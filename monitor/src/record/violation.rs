//! What one AppArmor record says, whichever source brought it.

use std::fmt;

use super::companions::Companions;
use super::sender::Sender;

/// What AppArmor did about the operation.
///
/// The kernel's words, `enum audit_type` in security/apparmor/include/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Refused: `apparmor="DENIED"`.
    Denied,
    /// Let through by a complain-mode profile: `apparmor="ALLOWED"`.
    Allowed,
    /// Let through and reported because the rule says `audit`: `apparmor="AUDIT"`.
    Audit,
    /// Refused, and the task was killed: `apparmor="KILLED"`.
    Killed,
    /// A learning hint: `apparmor="HINT"`.
    Hint,
    /// Policy was loaded, replaced or removed: `apparmor="STATUS"`.
    Status,
    /// `apparmor="ERROR"`.
    Error,
}

impl Verdict {
    /// All verdicts, in the order in which they are declared.
    pub const ALL: [Self; 7] =
        [Self::Denied, Self::Allowed, Self::Audit, Self::Killed, Self::Hint, Self::Status, Self::Error];

    /// The word used for this verdict in labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Allowed => "allowed",
            Self::Audit => "audit",
            Self::Killed => "killed",
            Self::Hint => "hint",
            Self::Status => "status",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of access a rule for this violation would be about.
///
/// Finer than the kernel's `class=` where a profile author thinks of different rules: the kernel reports
/// exec, link and change_profile as class `file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Opening, reading, writing, creating, removing, mapping, locking a file.
    File,
    /// Executing a file.
    Exec,
    /// Making a hard link.
    Link,
    /// mount, remount, umount and pivot_root.
    Mount,
    /// Using a capability.
    Capability,
    /// A socket of any family but unix.
    Network,
    /// A unix socket.
    Unix,
    /// Sending or receiving a signal.
    Signal,
    /// Tracing or reading another process, or being traced or read.
    Ptrace,
    /// Raising a resource limit.
    Rlimit,
    /// A POSIX or System V message queue.
    Mqueue,
    /// io_uring: overriding credentials, or a kernel polling thread.
    IoUring,
    /// Making a user namespace.
    Userns,
    /// A message or name on D-Bus, reported by the bus daemon.
    Dbus,
    /// change_profile, change_hat and change_onexec.
    ChangeProfile,
    /// Loading, replacing and removing policy.
    Policy,
    /// A class that this version does not know.
    Other,
}

impl Class {
    /// All classes, in the order in which they are declared.
    pub const ALL: [Self; 17] = [
        Self::File,
        Self::Exec,
        Self::Link,
        Self::Mount,
        Self::Capability,
        Self::Network,
        Self::Unix,
        Self::Signal,
        Self::Ptrace,
        Self::Rlimit,
        Self::Mqueue,
        Self::IoUring,
        Self::Userns,
        Self::Dbus,
        Self::ChangeProfile,
        Self::Policy,
        Self::Other,
    ];

    /// The word used for this class in labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Exec => "exec",
            Self::Link => "link",
            Self::Mount => "mount",
            Self::Capability => "capability",
            Self::Network => "network",
            Self::Unix => "unix",
            Self::Signal => "signal",
            Self::Ptrace => "ptrace",
            Self::Rlimit => "rlimit",
            Self::Mqueue => "mqueue",
            Self::IoUring => "io_uring",
            Self::Userns => "userns",
            Self::Dbus => "dbus",
            Self::ChangeProfile => "change_profile",
            Self::Policy => "policy",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a record came from, and so how far its words can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Read by our eBPF program out of the kernel's own structures.
    Ebpf,
    /// The kernel, over the audit netlink socket.
    Netlink,
    /// The kernel ring buffer, /dev/kmsg.
    Kmsg,
    /// A log file or standard input: as true as whoever wrote it.
    File,
}

impl Origin {
    /// The word used for this origin in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Netlink => "netlink",
            Self::Kmsg => "kmsg",
            Self::File => "file",
        }
    }
}

/// The audit stamp, `audit(1795450134.756:4)`: the record's own identity.
///
/// Unique for one event only while auditing is off (`audit_enabled` 0). With it on, all records of one
/// system call share a stamp. The serial restarts at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuditId {
    /// Wall-clock time in milliseconds since the epoch.
    pub millis: u64,
    /// The kernel's running number.
    pub serial: u64,
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}:{}", self.millis / 1000, self.millis % 1000, self.serial)
    }
}

/// What the eBPF source knows of the task beyond the record, all of it taken at the moment of the violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// The cgroup's id: the inode number of its directory under /sys/fs/cgroup, or under
    /// /sys/fs/cgroup/pids on a host with cgroup v1. 1 is the root.
    pub cgroup_id: u64,
    /// The thread id in the initial pid namespace.
    pub tid: u32,
    /// When the process (thread group leader) started, nanoseconds since boot including suspend; 0 when
    /// this kernel's layout did not tell.
    pub start_boottime: u64,
    /// The process that is signalled or traced, where the kernel's hook told.
    pub target: Option<Target>,
}

/// The process that the task signals or traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The process id in the initial pid namespace.
    pub pid: u32,
    /// As [`Task::cgroup_id`].
    pub cgroup_id: u64,
    /// As [`Task::start_boottime`].
    pub start_boottime: u64,
}

/// One AppArmor record: borrowed from the line or wire record it was read from, values already decoded.
///
/// Keys that a record lacks are `None`; nothing is made up. Byte strings are as the kernel holds them: any
/// byte but NUL, chosen by the confined program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<'a> {
    /// What AppArmor did.
    pub verdict: Verdict,
    /// What kind of access it was about.
    pub class: Class,
    /// Where the record came from.
    pub origin: Origin,
    /// The audit stamp, when the record has one.
    pub audit_id: Option<AuditId>,
    /// When it happened, nanoseconds since the epoch; from the stamp or the kernel's clock.
    pub time: Option<u64>,
    /// What the program did, in the kernel's words: `open`, `capable`, `ptrace`.
    pub operation: &'a [u8],
    /// The profile that decided, raw: may end in `//hat`, `//null-...`, or be a stack `a//&b`.
    pub profile: Option<&'a [u8]>,
    /// The profile's policy namespace when it is not the root one.
    pub namespace: Option<&'a [u8]>,
    /// The object: a path, a mount point, a profile name for policy operations.
    pub name: Option<&'a [u8]>,
    /// The other object: what a link points to, the profile after a transition.
    pub target: Option<&'a [u8]>,
    /// The label of the other side of a signal, ptrace or socket.
    pub peer: Option<&'a [u8]>,
    /// The thread's comm, chosen by the program.
    pub comm: Option<&'a [u8]>,
    /// The process id (tgid) in the initial pid namespace.
    pub pid: Option<u32>,
    /// Why, in the kernel's words.
    pub info: Option<&'a [u8]>,
    /// The errno, negative.
    pub error: Option<i32>,
    /// What was asked for: letters for files (`wrc`), words for sockets (`send receive`).
    pub requested_mask: Option<&'a [u8]>,
    /// What of it was not granted.
    pub denied_mask: Option<&'a [u8]>,
    /// The file system uid of the task.
    pub fsuid: Option<u32>,
    /// The owner of the object.
    pub ouid: Option<u32>,
    /// The capability's number.
    pub capability: Option<u32>,
    /// The capability's name, lower case, without `CAP_`.
    pub capname: Option<&'a [u8]>,
    /// The socket's address family: `inet`.
    pub family: Option<&'a [u8]>,
    /// The socket's type: `stream`.
    pub sock_type: Option<&'a [u8]>,
    /// The socket's protocol number.
    pub protocol: Option<i32>,
    /// Local address.
    pub laddr: Option<&'a [u8]>,
    /// Local port.
    pub lport: Option<u16>,
    /// Foreign address.
    pub faddr: Option<&'a [u8]>,
    /// Foreign port.
    pub fport: Option<u16>,
    /// The signal's name: `term`, `rtmin+3`, `exists`.
    pub signal: Option<&'a [u8]>,
    /// File system type of a mount.
    pub fstype: Option<&'a [u8]>,
    /// What is mounted.
    pub srcname: Option<&'a [u8]>,
    /// Mount flags, in words.
    pub flags: Option<&'a [u8]>,
    /// The resource limit's name: `nofile`.
    pub rlimit: Option<&'a [u8]>,
    /// The value asked for.
    pub value: Option<u64>,
    /// Keys without a field of their own, in the record's order, values decoded.
    pub others: &'a [(&'a [u8], &'a [u8])],
    /// True when a string was longer than the source could carry and was cut.
    pub truncated: bool,
    /// What eBPF knows of the task.
    pub task: Option<Task>,
    /// The user process that reported it; None when the kernel did.
    pub sender: Option<&'a Sender<'a>>,
    /// What the other records of the same audit event say.
    pub companions: Option<&'a Companions<'a>>,
    /// The machine, when a log names it.
    pub node: Option<&'a [u8]>,
}

impl<'a> Violation<'a> {
    /// A violation with nothing known but these.
    pub fn new(verdict: Verdict, class: Class, origin: Origin, operation: &'a [u8]) -> Self {
        Self {
            verdict,
            class,
            origin,
            audit_id: None,
            time: None,
            operation,
            profile: None,
            namespace: None,
            name: None,
            target: None,
            peer: None,
            comm: None,
            pid: None,
            info: None,
            error: None,
            requested_mask: None,
            denied_mask: None,
            fsuid: None,
            ouid: None,
            capability: None,
            capname: None,
            family: None,
            sock_type: None,
            protocol: None,
            laddr: None,
            lport: None,
            faddr: None,
            fport: None,
            signal: None,
            fstype: None,
            srcname: None,
            flags: None,
            rlimit: None,
            value: None,
            others: &[],
            truncated: false,
            task: None,
            sender: None,
            companions: None,
            node: None,
        }
    }
}
