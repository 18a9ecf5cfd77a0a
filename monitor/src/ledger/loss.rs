//! The places that can lose, each listed once.

use crate::capture::Source;

/// Makes the enum, the list of all its variants and their labels of one table: none can be forgotten in one
/// of the three.
macro_rules! losses {
    ($($(#[$doc:meta])* $place:ident: ($source:expr, $stage:literal, $reason:literal),)*) => {
        /// A place where violations can be lost.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Loss {
            $($(#[$doc])* $place,)*
        }

        impl Loss {
            /// All places, in the order in which they are declared.
            pub const ALL: [Self; [$($reason),*].len()] = [$(Self::$place),*];

            /// The labels `source`, `stage` and `reason` of this place.
            pub const fn labels(self) -> (Source, &'static str, &'static str) {
                match self {
                    $(Self::$place => ($source, $stage, $reason),)*
                }
            }
        }
    };
}

losses! {
    /// The ring buffer had no room (`bpf_ringbuf_output` failed).
    RingFull: (Source::Ebpf, "capture", "ring_full"),
    /// The kernel skipped a run of a program because it was already running on that CPU.
    ProgramBusy: (Source::Ebpf, "capture", "program_busy"),
    /// The ring was filling up, and the violation's cgroup had had its share of it.
    OverShare: (Source::Ebpf, "capture", "over_share"),
    /// The kernel would not let the program read the violation.
    Unreadable: (Source::Ebpf, "capture", "unreadable"),
    /// No agent's program was behind the anchor.
    Unheard: (Source::Ebpf, "capture", "unheard"),
    /// An agent of another version wrote it into the pinned ring.
    WireVersion: (Source::Ebpf, "record", "wire_version"),
    /// A wire record that does not decode.
    EbpfMalformed: (Source::Ebpf, "record", "malformed"),
    /// The queue between the eBPF source and the pipeline was full.
    EbpfQueueFull: (Source::Ebpf, "capture", "queue_full"),
    /// The netlink socket's receive buffer was full (the socket's own drop counter).
    SocketFull: (Source::Audit, "capture", "socket_full"),
    /// A message whose sender was not the kernel.
    UntrustedSender: (Source::Audit, "capture", "untrusted_sender"),
    /// An audit record that does not parse.
    AuditMalformed: (Source::Audit, "record", "malformed"),
    /// A violation that a user process reported which is not believed.
    AuditUntrusted: (Source::Audit, "record", "untrusted"),
    /// The queue between the audit source and the pipeline was full.
    AuditQueueFull: (Source::Audit, "capture", "queue_full"),
    /// Counted, but only the audit stream carried it.
    EbpfMissed: (Source::Ebpf, "merge", "missed"),
    /// Counted, but the audit stream did not carry it although audit had built the record: the kernel's
    /// rate limit or backlog, or this agent's socket, dropped it.
    AuditMissed: (Source::Audit, "merge", "missed"),
    /// Counted when eBPF told of it; the room for audit stamps was full, or the kernel skipped the program that notes
    /// them, so that the audit stream's record cannot be recognised as the same.
    StampsFull: (Source::Ebpf, "merge", "stamps_full"),
    /// Counted when eBPF told of it; the audit stream's record came when nobody waited for it any more.
    AuditLate: (Source::Audit, "merge", "late"),
    /// The kernel's audit lost the record (`lost` of `auditctl -s`); eBPF may have seen the violation.
    AuditKernel: (Source::Audit, "kernel", "lost"),
    /// The room for sightings that await their partner was full: a record of the audit stream that may
    /// have been counted already was dropped rather than counted twice.
    MergeFull: (Source::Audit, "merge", "room_full"),
    /// An event that the eBPF source told first was counted, and not printed: the reader was too slow.
    EbpfOutputFull: (Source::Ebpf, "output", "queue_full"),
    /// An event that the audit source told first was counted, and not printed: the reader was too slow.
    AuditOutputFull: (Source::Audit, "output", "queue_full"),
    /// An event that the eBPF source told first was counted, and not printed: writing failed.
    EbpfOutputFailed: (Source::Ebpf, "output", "write_failed"),
    /// An event that the audit source told first was counted, and not printed: writing failed.
    AuditOutputFailed: (Source::Audit, "output", "write_failed"),
    /// An event that the audit source alone told of was counted, and not printed: the agent was killed.
    AuditOutputKilled: (Source::Audit, "output", "killed"),
    /// Records that the kernel's limit kept out of its log while no agent ran, by its own word; some may be of
    /// other kinds, or counted before.
    LogSuppressed: (Source::Audit, "recover", "suppressed"),
    /// Records of a log from which there is no room to recover more.
    LogCut: (Source::Audit, "recover", "room_full"),
    /// Records of a log, or of an audit stream that lags, that the agent before had begun to tell of when it was killed:
    /// nobody knows whether it did.
    LogInDoubt: (Source::Audit, "recover", "in_doubt"),
    /// A denial without a record that found no room in the kernel's map of them. None of the violations.
    TalliesFull: (Source::Ebpf, "silent", "room_full"),
    /// The kernel skipped a run of a program that sees denials without a record, because it was already running
    /// on that CPU. Most such runs are of checks that allow. None of the violations.
    SilentBusy: (Source::Ebpf, "silent", "program_busy"),
    /// A record of a log, from a time when no agent ran, that does not parse: the kernel cuts long ones off.
    LogMalformed: (Source::Audit, "recover", "malformed"),
}

impl Loss {
    /// Where the eBPF source loses violations: what the programs saw is received, or lost at one of these.
    /// The audit stream may still bring what was lost here; then it is counted, and in [`Self::EbpfMissed`].
    pub const OF_EBPF: [Self; 8] = [
        Self::RingFull,
        Self::ProgramBusy,
        Self::OverShare,
        Self::Unreadable,
        Self::Unheard,
        Self::WireVersion,
        Self::EbpfMalformed,
        Self::EbpfQueueFull,
    ];
}
