//! What the agent was told: defaults, file, environment and flags, resolved into one [`Config`].

mod file;
mod labels;
mod period;
mod settings;
mod size;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serialize;

pub use self::labels::{MetricLabel, MetricLabels};
pub use self::period::Period;
pub use self::settings::{LogLevel, OutputFormat, PodSourceChoice, Settings, SilentDenials, SourceChoice};
pub use self::size::Size;
use crate::node::confinement::allowed::Allowed;
use crate::node::confinement::compare::RuntimeDefaults;
use crate::output::kube_events::KubeEventsChoice;

/// The file that is read when none is named; it need not exist.
pub const DEFAULT_FILE: &str = "/etc/aa-monitor/config.toml";

const DEFAULT_STATE_DIR: &str = "/var/lib/aa-monitor";
/// Where [`crate::cli::Command::Detach`] looks too, if it is not told otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/aa-monitor";
/// Where the agent listens for `tail`, `status` and `suggest`.
pub const DEFAULT_SOCKET: &str = "/run/aa-monitor/aa-monitor.sock";

/// A configuration cannot be larger than this; what is larger is some other file.
const FILE_LIMIT: u64 = 1 << 20;

/// The effective configuration: every value decided and within its limits.
///
/// Serializes to TOML that [`Config::load`] reads back to the same value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub listen: SocketAddr,
    /// Which sources to start.
    pub source: SourceChoice,
    /// What to print for each event.
    pub output: OutputFormat,
    /// Where to print it; standard output when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_file: Option<PathBuf>,
    /// Bytes of the eBPF ring buffer, a power of two.
    pub ring_size: Size,
    /// Bytes of the audit socket's receive buffer.
    pub netlink_buffer: Size,
    /// How many records wait between a source and the pipeline.
    pub queue_length: usize,
    /// How many series the agent's event metrics may have.
    pub series_limit: usize,
    /// Which denials without a record are counted.
    pub silent_denials: SilentDenials,
    /// What the agent leaves to the next one, and what has been seen.
    pub state_dir: PathBuf,
    /// Where the eBPF programs are pinned, in a BPF file system.
    pub pin_dir: PathBuf,
    /// Whether they end with the agent instead.
    pub no_pin: bool,
    /// The Unix socket at which tail, status and suggest are answered.
    pub socket: PathBuf,
    /// Which Kubernetes Events are written, where there is an API server.
    pub kube_events: KubeEventsChoice,
    /// Which profiles pods may ask for without being told of; any when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_profiles: Option<Allowed>,
    /// What the container runtime's default profile may be called.
    pub default_profiles: RuntimeDefaults,
    /// Which loaded profiles become labels of the node; none when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_labels: Option<String>,
    /// Which labels they have.
    pub metric_labels: MetricLabels,
    /// Where pods are known from.
    pub pod_source: PodSourceChoice,
    /// What this node is called in the cluster, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// How the API server is reached, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the kubelet is, if it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet_url: Option<String>,
    /// Who vouches for the kubelet, if not the cluster's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet_ca: Option<PathBuf>,
    /// Whether the kubelet need not prove to be the kubelet.
    pub kubelet_insecure: bool,
    /// How long what is gone can still be named.
    pub keep_gone: Period,
    /// What is written to standard error.
    pub log_level: LogLevel,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            source: SourceChoice::Auto,
            output: OutputFormat::None,
            output_file: None,
            ring_size: Size::mebibytes(8),
            netlink_buffer: Size::mebibytes(16),
            queue_length: 4_096,
            series_limit: 5_000,
            silent_denials: SilentDenials::Off,
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            pin_dir: PathBuf::from(DEFAULT_PIN_DIR),
            no_pin: false,
            socket: DEFAULT_SOCKET.into(),
            kube_events: KubeEventsChoice::Denied,
            allowed_profiles: None,
            default_profiles: RuntimeDefaults::default(),
            node_labels: None,
            metric_labels: MetricLabels::default(),
            pod_source: PodSourceChoice::Auto,
            node_name: None,
            kubeconfig: None,
            kubelet_url: None,
            kubelet_ca: None,
            kubelet_insecure: false,
            keep_gone: Period::minutes(10),
            log_level: LogLevel::Info,
        }
    }
}

/// A configuration that cannot be used. All of these are the user's to mend: exit code 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file was named and cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file says something that has no meaning; a line for each.
    #[error("{}", problems.join("\n"))]
    File {
        /// What is wrong, each with file, line and a way out.
        problems: Vec<String>,
    },
    /// Two values that are right alone do not go together.
    #[error(
        "output-file is set and output is none, so nothing would be written to it: set output to json or table"
    )]
    OutputFileWithoutOutput,
    /// The same.
    #[error("kubelet-ca and kubelet-insecure contradict each other: leave one of them out")]
    KubeletVerifiedOrNot,
}

impl Config {
    /// Resolves flags and environment (`given`) over the file over the defaults.
    ///
    /// Reads `file` when it is named, otherwise [`DEFAULT_FILE`] when that exists.
    pub fn load(file: Option<&Path>, given: Settings) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let from_file = match read(path) {
            Ok(text) => file::parse(&text).map_err(|problems| ConfigError::File {
                problems: problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => Settings::default(),
            Err(source) => {
                return Err(ConfigError::Unreadable { path: path.to_owned(), source });
            }
        };
        Self::resolve(given.over(from_file))
    }

    fn resolve(settings: Settings) -> Result<Self, ConfigError> {
        let Settings {
            listen,
            source,
            output,
            output_file,
            ring_size,
            netlink_buffer,
            queue_length,
            series_limit,
            silent_denials,
            state_dir,
            pin_dir,
            no_pin,
            socket,
            kube_events,
            allowed_profiles,
            default_profiles,
            node_labels,
            metric_labels,
            pod_source,
            node_name,
            kubeconfig,
            kubelet_url,
            kubelet_ca,
            kubelet_insecure,
            keep_gone,
            log_level,
        } = settings;
        let default = Self::default();
        let config = Self {
            listen: listen.unwrap_or(default.listen),
            source: source.unwrap_or(default.source),
            output: output.unwrap_or(default.output),
            output_file,
            ring_size: ring_size.unwrap_or(default.ring_size),
            netlink_buffer: netlink_buffer.unwrap_or(default.netlink_buffer),
            queue_length: queue_length.unwrap_or(default.queue_length),
            series_limit: series_limit.unwrap_or(default.series_limit),
            silent_denials: silent_denials.unwrap_or(default.silent_denials),
            state_dir: state_dir.unwrap_or(default.state_dir),
            pin_dir: pin_dir.unwrap_or(default.pin_dir),
            no_pin: no_pin.unwrap_or(default.no_pin),
            socket: socket.unwrap_or(default.socket),
            kube_events: kube_events.unwrap_or(default.kube_events),
            allowed_profiles,
            default_profiles: default_profiles.unwrap_or(default.default_profiles),
            node_labels,
            metric_labels: metric_labels.unwrap_or(default.metric_labels),
            pod_source: pod_source.unwrap_or(default.pod_source),
            node_name,
            kubeconfig,
            kubelet_url,
            kubelet_ca,
            kubelet_insecure: kubelet_insecure.unwrap_or(default.kubelet_insecure),
            keep_gone: keep_gone.unwrap_or(default.keep_gone),
            log_level: log_level.unwrap_or(default.log_level),
        };
        if config.output == OutputFormat::None && config.output_file.is_some() {
            return Err(ConfigError::OutputFileWithoutOutput);
        }
        if config.kubelet_insecure && config.kubelet_ca.is_some() {
            return Err(ConfigError::KubeletVerifiedOrNot);
        }
        Ok(config)
    }

    /// The configuration as a TOML file.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Reads a whole file, unless it is far too large to be a configuration.
fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_LIMIT {
        return Err(io::Error::other("larger than 1MiB, which no configuration is"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
