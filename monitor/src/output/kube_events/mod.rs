//! Kubernetes Events: what happened to a pod, where `kubectl describe pod` shows it.
//!
//! [`recorder`] decides, [`writer`] talks. Counting a sighting takes a lock, a lookup and no allocation;
//! nothing here waits for the API server. kube's own recorder would write for every repeat, without limit.

mod bucket;
mod note;
mod object;
mod pace;
mod recorder;
mod subject;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use clap::ValueEnum;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::recorder::Tally;
use self::recorder::{Limits, Now, Outcome, Recorder, Seen, Write};
pub(crate) use self::subject::{Reason, Subject};
use super::metrics::profile_label;
use crate::identity::pods::{ContainerKind, Pods};
use crate::merge::Event;
use crate::record::{self, Verdict};

/// Which Kubernetes Events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum KubeEventsChoice {
    /// None
    Off,
    /// For what was refused, and for profiles that are missing or not the ones asked for
    Denied,
    /// And for what a complain-mode profile would refuse
    All,
}

/// The Kubernetes Events of one agent.
#[derive(Debug)]
pub struct KubeEvents {
    choice: KubeEventsChoice,
    recorder: Mutex<Recorder>,
    wake: Notify,
    pods: OnceLock<Arc<Pods>>,
}

impl KubeEvents {
    /// Nothing seen, nothing written yet.
    pub fn new(choice: KubeEventsChoice) -> Self {
        let recorder = Recorder::new(Limits::DEFAULT, Now::read().instant);
        Self { choice, recorder: Mutex::new(recorder), wake: Notify::new(), pods: OnceLock::new() }
    }

    /// Writes what is to be written until `stop`, and then the last counts. `client` must not retry by itself.
    pub async fn write(self: Arc<Self>, client: kube::Client, node: String, stop: CancellationToken) {
        writer::run(self, client, node, stop).await;
    }

    /// Names the pods, which know in which list of its pod's spec a container is.
    pub fn know(&self, pods: Arc<Pods>) {
        // There is one set of pods; a second call would be about the same.
        let _ = self.pods.set(pods);
    }

    /// Asked once for each Event, so that a walk over the pods is cheap enough.
    fn kind(&self, uid: &str, container: &str) -> ContainerKind {
        let pods = self.pods.get().map(|pods| pods.snapshot()).unwrap_or_default();
        let pod = pods.iter().find(|pod| &*pod.pod.uid == uid);
        let found = pod.and_then(|pod| pod.containers.iter().find(|found| &*found.name == container));
        found.map(|found| found.kind).unwrap_or_default()
    }

    /// Takes a violation. One that is about no pod, or about a pod whose name is not known, has no Event.
    pub fn observe(&self, event: &Event<'_>) {
        let violation = event.violation;
        let Some(reason) = reason(violation.verdict, self.choice) else { return };
        let Some(container) = event.subject.container.as_deref() else { return };
        let Some(pod) = container.pod.as_deref().filter(|pod| !pod.name.is_empty()) else { return };
        let profile = profile_label(violation.profile.unwrap_or_default(), violation.namespace);
        let subject = Subject {
            reason,
            uid: &pod.uid,
            namespace: &pod.namespace,
            pod: &pod.name,
            container: &container.name,
            profile: &profile,
            class: violation.class.as_str(),
            operation: record::operation_label(violation.operation),
        };
        let kind = || self.kind(&pod.uid, &container.name);
        self.take(&subject, || (kind(), note::of_violation(reason, &profile, violation)));
    }

    /// Takes something that was found about a pod's profiles.
    pub(crate) fn tell(&self, subject: &Subject<'_>, kind: ContainerKind, text: &str) {
        if self.choice != KubeEventsChoice::Off {
            self.take(subject, || (kind, text.to_owned()));
        }
    }

    /// What became of all that was taken.
    pub(crate) fn tally(&self) -> Tally {
        self.recorder().tally()
    }

    fn take(&self, subject: &Subject<'_>, tell: impl FnOnce() -> (ContainerKind, String)) {
        let seen = self.recorder().observe(subject, tell, Now::read());
        if seen == Seen::Wake {
            self.wake.notify_one();
        }
    }

    fn next_write(&self) -> Option<Write> {
        self.recorder().next(Now::read())
    }

    fn deadline(&self) -> Option<Instant> {
        self.recorder().deadline()
    }

    fn finished(&self, outcome: Outcome) {
        self.recorder().finished(outcome, Now::read());
    }

    fn close(&self) {
        self.recorder().close();
    }

    async fn woken(&self) {
        self.wake.notified().await;
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason for an Event about a verdict, when there shall be one.
fn reason(verdict: Verdict, choice: KubeEventsChoice) -> Option<Reason> {
    let reason = match verdict {
        Verdict::Denied => Reason::Denied,
        Verdict::Killed => Reason::Killed,
        Verdict::Allowed => Reason::WouldDeny,
        Verdict::Audit | Verdict::Hint | Verdict::Status | Verdict::Error => return None,
    };
    match choice {
        KubeEventsChoice::Off => None,
        KubeEventsChoice::Denied => (reason != Reason::WouldDeny).then_some(reason),
        KubeEventsChoice::All => Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_says_which_verdicts_have_an_event() {
        use KubeEventsChoice::{All, Denied, Off};
        for (verdict, choice, want) in [
            (Verdict::Denied, Off, None),
            (Verdict::Denied, Denied, Some(Reason::Denied)),
            (Verdict::Killed, Denied, Some(Reason::Killed)),
            (Verdict::Allowed, Denied, None),
            (Verdict::Allowed, All, Some(Reason::WouldDeny)),
            (Verdict::Audit, All, None),
            (Verdict::Status, All, None),
        ] {
            assert_eq!(reason(verdict, choice), want, "{verdict} {choice:?}");
        }
    }
}
