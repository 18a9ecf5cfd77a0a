//! `aa-monitor check`: what works on this node, what does not, and what to do about it, before or beside an agent.
//!
//! It asks the kernel by doing what the agent does (loads the programs, joins the audit stream, lists the pods)
//! and takes everything back; what it cannot try out, it reads. It writes nothing and needs no agent.

mod cluster;
mod finding;
mod kernel;
mod permissions;
mod places;
mod privileges;
mod sources;

use std::fs;

pub use self::finding::{Finding, Report, Status};
use self::sources::Sources;
use crate::agent::pod_options;
use crate::config::Config;
use crate::node::apparmor_enabled;

/// Looks at everything that an agent with this configuration would need.
pub async fn run(config: &Config) -> Report {
    let sources = Sources::try_out(config.source).await;
    let mut findings = kernel::apparmor(&read);
    findings.extend(sources.findings());
    if apparmor_enabled() {
        findings.extend(kernel::parameters(&read, sources.ebpf_works()));
    }
    findings.extend(kernel::restrictions(&read));
    if config.source.includes(crate::capture::Source::Audit) {
        findings.push(sources::rate());
    }
    findings.extend(privileges::capabilities(config.source));
    findings.extend(privileges::process());
    findings.push(places::cgroups());
    findings.push(places::pins(config));
    findings.push(places::state(config));
    findings.push(cluster::port(config).await);
    findings.extend(cluster::pods(config).await);
    findings.extend(permissions::findings(config, pod_options(config).source).await);
    Report(findings)
}

/// A file of the kernel's, without the white space around it; `None` where it is not there or not for us.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
