//! Events and state for whoever sits at this node: a Unix socket that only root can open.
//!
//! One JSON line asks, JSON lines answer. Everything that names files and commands goes this way and not
//! over HTTP. Readers are bounded in number, and one that is slow loses lines, which it is told.

mod ask;
pub mod client;
mod confined;
mod server;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::broadcast;

pub use self::ask::{Ask, Filter, VERSION};
pub use self::server::{bind, serve};
pub use self::status::{ContainerStatus, ProfileStatus, SilentStatus, Status};
use super::history::History;
use super::{SILENT, detail, json};
use crate::identity::Identity;
use crate::identity::unrecorded::Unrecorded;
use crate::merge::Event;
use crate::node::confinement::Confinement;
use crate::output::escape::escape;
use crate::record::{Class, profile_base, words};

/// Events that are kept for `--last`, and their bytes.
const RECENT: usize = 1_000;
const RECENT_BYTES: usize = 4 << 20;
/// Events that wait for a slow reader.
const WAITING: usize = 1_024;
/// More of one name no line shows.
const NAME_LIMIT: usize = 256;

/// An event as it is sent.
#[derive(Debug)]
pub(super) struct Told {
    /// The event as one JSON object, without the newline.
    json: Vec<u8>,
    /// The same for people, in which nothing acts.
    shown: String,
    verdict: &'static str,
    class: Class,
    profile: String,
    pod: String,
    namespace: String,
}

#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<Arc<Told>>,
    bytes: usize,
}

/// What readers are told from.
pub struct Live {
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Arc<Told>>,
    status: status::Tallies,
    history: Arc<History>,
    confinement: OnceLock<Arc<Confinement>>,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl Live {
    /// Nothing yet.
    pub fn new(history: Arc<History>) -> Self {
        Self {
            recent: Mutex::default(),
            sender: broadcast::channel(WAITING).0,
            status: status::Tallies::default(),
            history,
            confinement: OnceLock::new(),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Also tells how the node's containers are confined.
    pub fn tell_of_confinement(&self, confinement: Arc<Confinement>) {
        // A second one would be of another node.
        let _ = self.confinement.set(confinement);
    }

    /// Tells readers of `event`, and keeps it for those that come later.
    pub fn observe(&self, event: &Event<'_>) {
        self.status.observe(event);
        let mut line = Vec::with_capacity(512);
        if json::write_line(&mut line, event).is_err() {
            return;
        }
        line.pop();
        self.tell(Told::new(event, line));
    }

    /// The same of denials without a record.
    pub fn observe_unrecorded(&self, unrecorded: &Unrecorded<'_>) {
        self.status.observe_unrecorded(unrecorded);
        let mut line = Vec::with_capacity(512);
        if json::write_unrecorded(&mut line, unrecorded).is_err() {
            return;
        }
        line.pop();
        self.tell(Told::unrecorded(unrecorded, line));
    }

    fn tell(&self, told: Told) {
        let told = Arc::new(told);
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.bytes += told.size();
            recent.events.push_back(Arc::clone(&told));
            while recent.events.len() > RECENT || recent.bytes > RECENT_BYTES {
                let Some(gone) = recent.events.pop_front() else { break };
                recent.bytes -= gone.size();
            }
        }
        // Nobody may be listening.
        let _ = self.sender.send(told);
    }

    /// Clients that were turned away because there were too many.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Events that slow readers did not get.
    pub fn lost_total(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The latest events that pass, and a receiver of all that follow them: none is in both, none is missed.
    fn join(&self, last: usize, filter: &Filter) -> (Vec<Arc<Told>>, broadcast::Receiver<Arc<Told>>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let mut latest: Vec<_> =
            recent.events.iter().rev().filter(|told| filter.passes(told)).take(last).cloned().collect();
        latest.reverse();
        (latest, receiver)
    }
}

impl Told {
    fn new(event: &Event<'_>, json: Vec<u8>) -> Self {
        let violation = event.violation;
        let pod = event.subject.pod();
        let profile = safe(&profile_base(violation.profile.unwrap_or_default()));
        let who = who(event.subject);
        let time = violation.time.unwrap_or_default();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time);
        let shown = format!(
            "{} {:<7} {:<10} {profile} {who} {} {}",
            humantime::format_rfc3339_millis(time),
            violation.verdict,
            violation.class,
            safe(violation.comm.unwrap_or(b"-")),
            detail::detail(violation)
        );
        Self {
            json,
            shown,
            verdict: violation.verdict.as_str(),
            class: violation.class,
            profile,
            pod: pod.map(|pod| pod.name.to_string()).unwrap_or_default(),
            namespace: pod.map(|pod| pod.namespace.to_string()).unwrap_or_default(),
        }
    }

    fn unrecorded(unrecorded: &Unrecorded<'_>, json: Vec<u8>) -> Self {
        let Unrecorded { denial, subject } = *unrecorded;
        let pod = subject.pod();
        let profile = safe(&profile_base(&denial.profile));
        let what = what(unrecorded);
        let shown = format!(
            "{} {SILENT:<7} {:<10} {profile} {} - {what}{}[{}, {} times]",
            humantime::format_rfc3339_millis(denial.read),
            denial.class,
            who(subject),
            if what.is_empty() { "" } else { " " },
            denial.reason.as_str(),
            denial.count
        );
        Self {
            json,
            shown,
            verdict: SILENT,
            class: denial.class,
            profile,
            pod: pod.map(|pod| pod.name.to_string()).unwrap_or_default(),
            namespace: pod.map(|pod| pod.namespace.to_string()).unwrap_or_default(),
        }
    }

    fn size(&self) -> usize {
        self.json.len() + self.shown.len() + size_of::<Self>()
    }
}

fn safe(bytes: &[u8]) -> String {
    escape(bytes, NAME_LIMIT).into_owned()
}

/// `namespace/pod/container`, the start of a container's id, or `-` for the host.
fn who(subject: &Identity) -> String {
    match (&subject.container, subject.pod()) {
        (Some(container), Some(pod)) if !pod.name.is_empty() => {
            safe(format!("{}/{}/{}", pod.namespace, pod.name, container.name).as_bytes())
        }
        (Some(container), _) => safe(container.short_id().as_bytes()),
        (None, _) => "-".to_owned(),
    }
}

/// What was refused without a record: a capability by its name, else the operation and its first object.
fn what(unrecorded: &Unrecorded<'_>) -> String {
    let denial = unrecorded.denial;
    if let Some(number) = denial.capability {
        return words::capability(number).map_or_else(|| format!("capability {number}"), safe);
    }
    let words = [&denial.operation, &denial.example].into_iter().filter(|word| !word.is_empty());
    words.map(|word| safe(word)).collect::<Vec<_>>().join(" ")
}
