//! Events and state for whoever sits at this node: a Unix socket that only root can open.
//!
//! One JSON line asks, JSON lines answer. Everything that names files and commands goes this way and not
//! over HTTP. Readers are bounded in number, and one that is slow loses lines, which it is told.

mod ask;
pub mod client;
mod confined;
mod kept;
mod server;
mod status;
#[cfg(test)]
mod tests;
mod told;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::broadcast;

pub use self::ask::{Ask, Filter, VERSION};
use self::kept::Kept;
pub use self::server::{bind, serve};
pub use self::status::{ContainerStatus, ProfileStatus, SilentStatus, Status};
use super::history::History;
use crate::identity::unrecorded::Unrecorded;
use crate::merge::Event;
use crate::node::confinement::Confinement;

/// Events that are kept for `--last`, and their bytes.
const RECENT: usize = 1_000;
const RECENT_BYTES: usize = 4 << 20;
/// Events that wait for a slow reader.
const WAITING: usize = 1_024;

#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<Arc<Kept>>,
    bytes: usize,
}

/// What readers are told from.
pub struct Live {
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Arc<Kept>>,
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
        self.tell(Kept::event(event));
    }

    /// The same of denials without a record.
    pub fn observe_unrecorded(&self, unrecorded: &Unrecorded<'_>) {
        self.status.observe_unrecorded(unrecorded);
        // Writing to memory does not fail.
        if let Ok(kept) = Kept::unrecorded(unrecorded) {
            self.tell(kept);
        }
    }

    fn tell(&self, kept: Kept) {
        let kept = Arc::new(kept);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.bytes += kept.size();
        recent.events.push_back(Arc::clone(&kept));
        while recent.events.len() > RECENT || recent.bytes > RECENT_BYTES {
            let Some(gone) = recent.events.pop_front() else { break };
            recent.bytes -= gone.size();
        }
        // Under the lock, so that who joins meanwhile does not find it twice. Nobody may be listening.
        let _ = self.sender.send(kept);
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
    fn join(&self, last: usize, filter: &Filter) -> (Vec<Arc<Kept>>, broadcast::Receiver<Arc<Kept>>) {
        let (recent, receiver) = {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            (recent.events.clone(), self.sender.subscribe())
        };
        // Read without the lock: those who observe do not wait for it.
        let passing = recent.into_iter().rev().filter(|kept| kept.passes(|marks| filter.passes(marks)));
        let mut latest: Vec<_> = passing.take(last).collect();
        latest.reverse();
        (latest, receiver)
    }
}
