//! Metric names: a contract with everyone's dashboards and alerts. Nothing else spells one.

/// The name of a metric, and its help text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

const fn name(name: &'static str, help: &'static str) -> Name {
    Name { name, help }
}

pub(super) const EVENTS: Name = name(
    "apparmor_events_total",
    "AppArmor events on this node, each counted once, by what and whom they were about.",
);
pub(super) const NODE_EVENTS: Name = name(
    "apparmor_node_events_total",
    "AppArmor events on this node, each counted once. Every row exists from the start.",
);
pub(super) const LAST_EVENT: Name = name(
    "apparmor_last_event_timestamp_seconds",
    "When the latest such event happened, seconds since the epoch.",
);
pub(super) const PARAMETER: Name = name(
    "apparmor_parameter_info",
    "1; the kernel's own AppArmor settings, each of which can keep records from being written.",
);
pub(super) const ENABLED: Name =
    name("apparmor_enabled", "1 if the running kernel enforces AppArmor, otherwise 0.");
pub(super) const FEATURES: Name = name(
    "apparmor_features_info",
    "1; the labels tell which policy ABI this kernel reads and which classes it mediates.",
);
pub(super) const PROFILES: Name =
    name("apparmor_profiles", "Profiles that are loaded on this node, by mode; absent while not known.");
pub(super) const PROFILE_INFO: Name =
    name("apparmor_profile_info", "1 for each profile that is loaded on this node, with its mode.");
pub(super) const POLICY_CHANGES: Name = name(
    "apparmor_policy_changes_total",
    "Records of profiles being loaded, replaced and removed on this node.",
);
pub(super) const CONFINEMENT_INFO: Name = name(
    "apparmor_container_confinement_info",
    "1 for each running container: what its pod asked for, and the profile it runs under.",
);
pub(super) const MISMATCH: Name = name(
    "apparmor_container_profile_mismatch",
    "1 for each running container that runs under another profile than the one it asked for.",
);
pub(super) const MISSING: Name = name(
    "apparmor_pod_profile_missing",
    "1 for each container of this node that asks for a profile which is not loaded.",
);
pub(super) const INVALID: Name = name(
    "apparmor_container_profile_invalid",
    "1 for each container of this node whose reference to a profile has no meaning.",
);
pub(super) const NOT_ALLOWED: Name = name(
    "apparmor_container_profile_not_allowed",
    "1 for each container of this node that asks for a profile which is not on the list.",
);

pub(super) const SILENT_DENIALS: Name = name(
    "apparmor_silent_denials_total",
    "Denials that AppArmor made without a record, by why there is none. Not in apparmor_events_total.",
);
pub(super) const LAST_NEW_VIOLATION: Name = name(
    "apparmor_profile_last_new_violation_timestamp_seconds",
    "When this profile was last violated in a way not seen before, seconds since the epoch.",
);
pub(super) const DISTINCT_VIOLATIONS: Name =
    name("apparmor_profile_distinct_violations", "Different violations of this profile that are remembered.");

pub(super) const SOURCE_UP: Name = name("aa_monitor_source_up", "1 while the source delivers, otherwise 0.");
pub(super) const RECEIVED: Name = name(
    "aa_monitor_events_received_total",
    "Records that a source delivered. A violation that both sources saw is counted by each of them.",
);
pub(super) const SEEN: Name = name(
    "aa_monitor_events_seen_total",
    "Violations that the programs saw in the kernel. Each is received, or lost at stage capture or record.",
);
pub(super) const LOST: Name = name(
    "aa_monitor_events_lost_total",
    "Records that were lost, by where and why. What stages merge and output lost is in the event metrics all the same.",
);
pub(super) const RECOVERED: Name = name(
    "aa_monitor_events_recovered_total",
    "Events of a time when no agent ran, read from a log at the start. They are in the event metrics.",
);
pub(super) const AUDIT_READABLE: Name = name(
    "aa_monitor_audit_status_readable",
    "1 if the kernel's audit may be asked how many records it has lost, otherwise 0.",
);
pub(super) const AUDIT_BACKLOG: Name = name(
    "aa_monitor_audit_backlog",
    "Records of all kinds that wait for the kernel's audit thread; absent where that may not be asked.",
);
pub(super) const AUDIT_BACKLOG_LIMIT: Name = name(
    "aa_monitor_audit_backlog_limit",
    "How many may wait before the kernel's audit loses records, 0 for no limit; absent where that may not be asked.",
);
pub(super) const STATE_FAILED: Name = name(
    "aa_monitor_state_failures_total",
    "Times that something in the state directory could not be read or written, but for the history.",
);
pub(super) const HOOK_ATTACHED: Name =
    name("aa_monitor_hook_attached", "1 if the kernel function is hooked, and how; 0 if it is not.");
pub(super) const LATENCY: Name = name(
    "aa_monitor_event_latency_seconds",
    "From the moment in the kernel to the count, by the source that told first.",
);
pub(super) const RESOLUTIONS: Name =
    name("aa_monitor_identity_resolutions_total", "Events by how it was found out whose they are.");
pub(super) const UNATTRIBUTED: Name = name(
    "aa_monitor_events_unattributed_total",
    "Events of which it could not be found out whose they are, by the reason.",
);
pub(super) const OWN_EVENTS: Name =
    name("aa_monitor_own_events_total", "Events that are about this agent itself.");
pub(super) const CGROUPS: Name = name(
    "aa_monitor_identity_cgroups",
    "Cgroups whose container is known: those that are there, and those that are gone and kept for a while.",
);
pub(super) const CGROUPS_EVICTED: Name = name(
    "aa_monitor_identity_evictions_total",
    "Cgroups that were forgotten, or for which there was no room, by the reason.",
);
pub(super) const CGROUPS_MISSED: Name = name(
    "aa_monitor_identity_missed_total",
    "Cgroups that were made or removed and whose record was dropped. They are looked up in the tree.",
);
pub(super) const TARGETS_MISSED: Name = name(
    "aa_monitor_identity_targets_missed_total",
    "Signals and ptrace checks, allowed ones too, whose target there was no room to note: a violation among them has no known victim.",
);
pub(super) const CGROUP_WALKS: Name =
    name("aa_monitor_identity_walks_total", "Walks through the cgroup tree.");
pub(super) const BUILD_INFO: Name = name("aa_monitor_build_info", "1; the labels tell which agent this is.");
pub(super) const SERIES: Name = name("aa_monitor_series", "Series of the event metrics at present.");
pub(super) const SERIES_LIMIT: Name = name(
    "aa_monitor_series_limit",
    "Series that the event metrics may have before new ones are counted as __other__.",
);
pub(super) const SERIES_DROPPED: Name = name(
    "aa_monitor_series_dropped_total",
    "Events, and denials without a record, counted under the label value __other__ because aa_monitor_series_limit was reached.",
);
pub(super) const KUBE_EVENTS: Name = name(
    "aa_monitor_kube_events_total",
    "What became of all that was to be told as Kubernetes Events, each once: created, counted in a series, suppressed by a limit, refused.",
);
pub(super) const LEFT_OUT: Name = name(
    "aa_monitor_inventory_left_out",
    "Profiles and containers of this node that have no series of their own because there are too many.",
);
pub(super) const POD_SOURCE_UP: Name =
    name("aa_monitor_pod_source_up", "1 while the source that pods are known from answers, otherwise 0.");
pub(super) const POD_SOURCE_FAILURES: Name = name(
    "aa_monitor_pod_source_failures_total",
    "Requests that the source of pods refused or did not answer, and watches that broke off.",
);
pub(super) const PODS: Name = name("aa_monitor_pods", "Pods on this node that are known by name.");
pub(super) const PODS_REFUSED: Name = name(
    "aa_monitor_pods_refused_total",
    "Pods and containers that were not taken in because there were too many.",
);
pub(super) const NAME_WAITS: Name = name(
    "aa_monitor_name_waits_total",
    "Events of containers that had no name yet, by how the wait for it ended.",
);

pub(super) const LAST_NEW: Name = name(
    "apparmor_profile_last_new_violation_timestamp_seconds",
    "When a violation of the profile was last of a kind not seen before, seconds since the epoch.",
);
pub(super) const DISTINCT: Name =
    name("apparmor_profile_distinct_violations", "Kinds of violations of the profile that are remembered.");
pub(super) const HISTORY_KINDS: Name =
    name("aa_monitor_history_kinds", "Kinds of violations that are remembered at present.");
pub(super) const HISTORY_DROPPED: Name = name(
    "aa_monitor_history_dropped_total",
    "Violations of kinds that there was no room to remember; they are in the event metrics all the same.",
);
pub(super) const HISTORY_FAILED: Name =
    name("aa_monitor_history_failures_total", "Times that the history could not be read or written.");
pub(super) const LIVE_REFUSED: Name =
    name("aa_monitor_live_refused_total", "Readers of the Unix socket that were turned away.");
pub(super) const LIVE_LOST: Name =
    name("aa_monitor_live_lost_total", "Events that readers of the Unix socket were too slow to get.");

pub(super) const CPU: Name = name("process_cpu_seconds_total", "User and system CPU time spent, in seconds.");
pub(super) const OPEN_FDS: Name = name("process_open_fds", "Open file descriptors.");
pub(super) const MAX_FDS: Name = name("process_max_fds", "Most file descriptors that may be open.");
pub(super) const VIRTUAL_MEMORY: Name = name("process_virtual_memory_bytes", "Virtual memory size in bytes.");
pub(super) const RESIDENT_MEMORY: Name =
    name("process_resident_memory_bytes", "Resident memory size in bytes.");
pub(super) const THREADS: Name = name("process_threads", "Threads of the process.");
pub(super) const START_TIME: Name =
    name("process_start_time_seconds", "When the process started, seconds since the epoch.");
