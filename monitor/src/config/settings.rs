//! What one place (flags, environment, file) may set. The names are the same in all three.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;

use clap::ValueEnum;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use super::labels::MetricLabels;
use super::period::Period;
use super::size::Size;
use crate::capture::Source;
use crate::identity::pods::node_name;
use crate::node::confinement::allowed::Allowed;
use crate::node::confinement::compare::RuntimeDefaults;
use crate::output::kube_events::KubeEventsChoice;

/// Every setting, each of them optional.
///
/// clap fills it from flags and environment; [`super::file`] has clap fill it from a file's keys, so that a
/// value is checked, and a mistake explained, in one way wherever it stands.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Serve /metrics, /livez and /readyz here [default: 127.0.0.1:9464]
    #[arg(long, env = "AA_MONITOR_LISTEN", value_name = "ADDRESS:PORT", value_parser = parse_listen)]
    pub listen: Option<SocketAddr>,

    /// How to capture; auto starts every source that works here [default: auto]
    #[arg(long, env = "AA_MONITOR_SOURCE", value_name = "SOURCE")]
    pub source: Option<SourceChoice>,

    /// What to print for each event [default: none]
    #[arg(long, env = "AA_MONITOR_OUTPUT", value_name = "FORMAT")]
    pub output: Option<OutputFormat>,

    /// Append the printed events to this file instead of standard output
    #[arg(long, env = "AA_MONITOR_OUTPUT_FILE", value_name = "PATH")]
    pub output_file: Option<PathBuf>,

    /// Size of the eBPF ring buffer, a power of two from 4KiB to 1GiB [default: 8MiB]
    #[arg(long, env = "AA_MONITOR_RING_SIZE", value_name = "BYTES", value_parser = parse_ring_size)]
    pub ring_size: Option<Size>,

    /// Size of the audit socket's receive buffer, from 4KiB to 1GiB [default: 16MiB]
    #[arg(long, env = "AA_MONITOR_NETLINK_BUFFER", value_name = "BYTES", value_parser = parse_netlink_buffer)]
    pub netlink_buffer: Option<Size>,

    /// Records that may wait between a source and the pipeline, from 1 to 1048576 [default: 4096]
    #[arg(long, env = "AA_MONITOR_QUEUE_LENGTH", value_name = "N", value_parser = parse_queue_length)]
    pub queue_length: Option<usize>,

    /// Series that event metrics may have, from 100 to 1000000; events past it are counted as "__other__" [default: 5000]
    #[arg(long, env = "AA_MONITOR_SERIES_LIMIT", value_name = "N", value_parser = parse_series_limit)]
    pub series_limit: Option<usize>,

    /// Count what AppArmor refuses without a record; costs each check of a confined task a little [default: off]
    #[arg(long, env = "AA_MONITOR_SILENT_DENIALS", value_name = "WHICH")]
    pub silent_denials: Option<SilentDenials>,

    /// Keep here what the next agent has to know, and what has been seen [default: /var/lib/aa-monitor]
    #[arg(long, env = "AA_MONITOR_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,

    /// Pin the eBPF programs here, so that nothing is missed while no agent runs [default: /sys/fs/bpf/aa-monitor]
    #[arg(long, env = "AA_MONITOR_PIN_DIR", value_name = "DIRECTORY")]
    pub pin_dir: Option<PathBuf>,

    /// Let the eBPF programs end with the agent [default: false]
    #[arg(long, env = "AA_MONITOR_NO_PIN", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_pin: Option<bool>,

    /// Answer tail, status and suggest at this Unix socket [default: /run/aa-monitor/aa-monitor.sock]
    #[arg(long, env = "AA_MONITOR_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Which Kubernetes Events to write, where there is an API server [default: denied]
    #[arg(long, env = "AA_MONITOR_KUBE_EVENTS", value_name = "WHICH")]
    pub kube_events: Option<KubeEventsChoice>,

    /// Tell of pods that ask for other AppArmor profiles: patterns with commas between them, NAMESPACE=PATTERN for one namespace
    #[arg(long, env = "AA_MONITOR_ALLOWED_PROFILES", value_name = "PATTERNS")]
    pub allowed_profiles: Option<Allowed>,

    /// What the container runtime calls its default profile, patterns with commas between them [default: cri-containerd.apparmor.d,crio-default,docker-default,containers-default-*,nerdctl-default]
    #[arg(long, env = "AA_MONITOR_DEFAULT_PROFILES", value_name = "PATTERNS")]
    pub default_profiles: Option<RuntimeDefaults>,

    /// Label this node with the loaded profiles that match; needs the permission to patch nodes
    #[arg(long, env = "AA_MONITOR_NODE_LABELS", value_name = "PATTERN", value_parser = parse_pattern)]
    pub node_labels: Option<String>,
    /// Labels of the event metrics beside verdict and class, or none [default: operation,profile,namespace,workload,pod,container]
    #[arg(long, env = "AA_MONITOR_METRIC_LABELS", value_name = "LABELS", value_parser = MetricLabels::from_str)]
    pub metric_labels: Option<MetricLabels>,

    /// Where pods are known from; auto is the API server if this runs in a pod or KUBECONFIG is set, else none [default: auto]
    #[arg(long, env = "AA_MONITOR_POD_SOURCE", value_name = "SOURCE")]
    pub pod_source: Option<PodSourceChoice>,

    /// The name of this node in the cluster, if neither NODE_NAME nor the host's name is it
    #[arg(long, env = "AA_MONITOR_NODE_NAME", value_name = "NAME", value_parser = parse_node_name)]
    pub node_name: Option<String>,

    /// Reach the API server as this file says, instead of KUBECONFIG or the pod's service account
    #[arg(long, env = "AA_MONITOR_KUBECONFIG", value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Where the kubelet serves /pods, if not at https://<node name>:10250
    #[arg(long, env = "AA_MONITOR_KUBELET_URL", value_name = "URL", value_parser = parse_kubelet_url)]
    pub kubelet_url: Option<String>,

    /// Verify the kubelet's certificate by those in this PEM file [default: the service account's ca.crt]
    #[arg(long, env = "AA_MONITOR_KUBELET_CA", value_name = "FILE")]
    pub kubelet_ca: Option<PathBuf>,

    /// Do not verify the kubelet: whoever answers in its place gets the agent's token, and may make up pods [default: false]
    #[arg(long, env = "AA_MONITOR_KUBELET_INSECURE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub kubelet_insecure: Option<bool>,

    /// How long pods and containers that are gone can still be named, from 1m to 1day [default: 10m]
    #[arg(long, env = "AA_MONITOR_KEEP_GONE", value_name = "TIME", value_parser = parse_keep_gone)]
    pub keep_gone: Option<Period>,

    /// How much to log to standard error [default: info]
    #[arg(long, env = "AA_MONITOR_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

impl Settings {
    /// These settings where they say something, the `weaker` ones where they do not.
    pub fn over(self, weaker: Self) -> Self {
        Self {
            listen: self.listen.or(weaker.listen),
            source: self.source.or(weaker.source),
            output: self.output.or(weaker.output),
            output_file: self.output_file.or(weaker.output_file),
            ring_size: self.ring_size.or(weaker.ring_size),
            netlink_buffer: self.netlink_buffer.or(weaker.netlink_buffer),
            queue_length: self.queue_length.or(weaker.queue_length),
            series_limit: self.series_limit.or(weaker.series_limit),
            silent_denials: self.silent_denials.or(weaker.silent_denials),
            state_dir: self.state_dir.or(weaker.state_dir),
            pin_dir: self.pin_dir.or(weaker.pin_dir),
            no_pin: self.no_pin.or(weaker.no_pin),
            socket: self.socket.or(weaker.socket),
            kube_events: self.kube_events.or(weaker.kube_events),
            allowed_profiles: self.allowed_profiles.or(weaker.allowed_profiles),
            default_profiles: self.default_profiles.or(weaker.default_profiles),
            node_labels: self.node_labels.or(weaker.node_labels),
            metric_labels: self.metric_labels.or(weaker.metric_labels),
            pod_source: self.pod_source.or(weaker.pod_source),
            node_name: self.node_name.or(weaker.node_name),
            kubeconfig: self.kubeconfig.or(weaker.kubeconfig),
            kubelet_url: self.kubelet_url.or(weaker.kubelet_url),
            kubelet_ca: self.kubelet_ca.or(weaker.kubelet_ca),
            kubelet_insecure: self.kubelet_insecure.or(weaker.kubelet_insecure),
            keep_gone: self.keep_gone.or(weaker.keep_gone),
            log_level: self.log_level.or(weaker.log_level),
        }
    }
}

/// Which sources to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SourceChoice {
    /// Every source that works on this node
    Auto,
    /// The eBPF programs alone
    Ebpf,
    /// The audit netlink socket alone
    Audit,
}

impl SourceChoice {
    /// Whether this choice asks for `source`.
    pub fn includes(self, source: Source) -> bool {
        match self {
            Self::Auto => true,
            Self::Ebpf => source == Source::Ebpf,
            Self::Audit => source == Source::Audit,
        }
    }
}

/// Which of the denials that leave no record are counted.
///
/// Off by default: what is allowed passes the same functions as what is refused, so that each check of a confined task takes 131
/// to 199 instructions more (`cargo xtask bench vm`; files up to 6.6, by kprobe, 438), where the agent otherwise costs
/// it nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SilentDenials {
    /// None; no program is loaded for them
    Off,
    /// What `deny` rules, the audit mode and the capability cache keep quiet
    On,
    /// And capability checks that ask not to be reported, which programs make to find out what they may do
    All,
}

/// Where pods are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PodSourceChoice {
    /// The API server, if this process was told of one
    Auto,
    /// The API server
    Api,
    /// This node's kubelet
    Kubelet,
    /// Nowhere: containers have ids, and the names that the runtime's files tell
    None,
}

/// What to print for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Nothing: metrics only
    None,
    /// One JSON object a line
    Json,
    /// A table for people
    Table,
}

/// The least important message that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What the agent cannot do
    Error,
    /// And what it does without
    Warn,
    /// And what it has started and stopped
    Info,
    /// And each decision
    Debug,
    /// And each record
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:9464, 0.0.0.0:9464 or [::1]:9464".to_owned()
    })
}

fn parse_ring_size(text: &str) -> Result<Size, String> {
    let size = bytes_within(text, Size::kibibytes(4), Size::mebibytes(1024))?;
    if size.bytes().is_power_of_two() {
        return Ok(size);
    }
    Err(format!("{size} is not a power of two; the next one is {}", size.next_power_of_two()))
}

fn parse_netlink_buffer(text: &str) -> Result<Size, String> {
    bytes_within(text, Size::kibibytes(4), Size::mebibytes(1024))
}

fn parse_queue_length(text: &str) -> Result<usize, String> {
    count_within(text, 1, 1 << 20)
}

fn parse_series_limit(text: &str) -> Result<usize, String> {
    count_within(text, 100, 1_000_000)
}

fn parse_pattern(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected a pattern, such as k8s-* (or * for every profile)".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_node_name(text: &str) -> Result<String, String> {
    node_name::check(text).map(|()| text.to_owned())
}

fn parse_kubelet_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() && text.parse::<hyper::Uri>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("expected a URL such as https://127.0.0.1:10250".to_owned()),
    }
}

fn parse_keep_gone(text: &str) -> Result<Period, String> {
    let period: Period = text.parse()?;
    let (least, most) = (Period::minutes(1), Period::minutes(24 * 60));
    if (least..=most).contains(&period) {
        return Ok(period);
    }
    Err(format!("must be from {least} to {most}"))
}

fn bytes_within(text: &str, least: Size, most: Size) -> Result<Size, String> {
    let size: Size = text.parse()?;
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    Err(format!("must be from {least} to {most}"))
}

fn count_within(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (least..=most).contains(&count) => Ok(count),
        _ => Err(format!("expected a whole number from {least} to {most}")),
    }
}
