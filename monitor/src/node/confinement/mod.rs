//! Whether the containers of this node run as their pods asked to, and whether they can.
//!
//! [`board`] judges; this task brings it what it needs whenever a pod or the node's policy has changed. One
//! process a container is read, when the container starts and after policy has changed.

pub mod allowed;
pub mod board;
pub mod compare;
mod processes;
mod readings;
pub mod requested;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::board::{Finding, Loaded, Row, Rules, Told, judge};
use self::readings::Readings;
use super::label::Label;
use super::profiles::Profiles;
use crate::identity::pods::{ContainerState, KubeContainer, KubePod, Pods};

/// Pods change in bursts; they are looked at together.
const GATHER: Duration = Duration::from_millis(250);

const CGROUPS: &str = "/sys/fs/cgroup";
const PROC: &str = "/proc";

/// What is known of the containers' confinement.
#[derive(Debug, Default)]
pub struct Confinement {
    rows: Mutex<Arc<[Row]>>,
}

impl Confinement {
    /// A row for each container.
    pub fn rows(&self) -> Arc<[Row]> {
        Arc::clone(&self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, rows: Vec<Row>) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows.into();
    }

    /// Keeps the rows up to date until `stop`; calls `tell` for each thing that is found to be wrong, once.
    pub async fn run(
        self: Arc<Self>,
        pods: Arc<Pods>,
        profiles: Arc<Profiles>,
        rules: Rules,
        tell: impl Fn(&Row, &KubeContainer, &Finding) + Send,
        stop: CancellationToken,
    ) {
        let (mut pods_changed, mut policy_changed) = (pods.changed(), profiles.subscribe());
        let mut readings = Readings::default();
        let mut told = Told::default();
        // Waiting for a change marks it as seen: that it came has to be kept.
        let mut policy_is_new = false;
        loop {
            policy_is_new |= policy_changed.has_changed().unwrap_or(false);
            pods_changed.mark_unchanged();
            policy_changed.mark_unchanged();
            let present = pods.snapshot();
            if mem::take(&mut policy_is_new) {
                readings.invalidate(now());
            }
            read(&mut readings, &present).await;
            let inventory = profiles.inventory();
            let loaded = match &inventory {
                Ok(inventory) => Loaded::These(inventory),
                Err(_) if !super::apparmor_enabled() => Loaded::Off,
                Err(_) => Loaded::Unknown,
            };
            let rows = judge(&present, |id| readings.believed(id), loaded, &rules);
            told.news(&rows, &tell);
            self.set(rows);

            let deadline = readings.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = pods_changed.changed() => if changed.is_err() { return },
                changed = policy_changed.changed() => match changed {
                    Ok(()) => policy_is_new = true,
                    Err(_) => return,
                },
                () = due => continue,
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = sleep(GATHER) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Reads what is due of the running containers of `pods`.
async fn read(readings: &mut Readings, pods: &[Arc<KubePod>]) {
    let containers = pods.iter().flat_map(|pod| &pod.containers);
    let running = containers.filter(|container| container.state == ContainerState::Running);
    readings.keep(&running.filter_map(|container| container.id.as_deref()).collect(), now());
    let due: Vec<Box<str>> = readings.due(now()).into_iter().map(Into::into).collect();
    if due.is_empty() {
        return;
    }
    // A walk over a full node's cgroups takes milliseconds that no other task should wait for.
    let read = tokio::task::spawn_blocking(move || {
        let ids: HashSet<&str> = due.iter().map(|id| &**id).collect();
        let folders = processes::folders(Path::new(CGROUPS), &ids);
        let label = |id: &str| processes::label(Path::new(PROC), folders.get(id)?);
        due.iter().map(|id| (id.clone(), label(id))).collect::<HashMap<Box<str>, Option<Label>>>()
    });
    let Ok(read) = read.await else { return };
    for (id, label) in read {
        readings.take(&id, label, now());
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
