//! The step from ids to names: at once where they are known, a moment later where they soon will be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use super::Identity;
use super::names::Names;
use super::waiting::{Refused, Room};

/// What became of events that came before their container's name.
#[derive(Debug, Default)]
pub struct Waits([AtomicU64; Outcome::ALL.len()]);

/// How the wait for a name ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name came.
    Named,
    /// It did not come in time, or had not for the events before.
    TimedOut,
    /// There was no room to wait in.
    RoomFull,
}

impl Outcome {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 3] = [Self::Named, Self::TimedOut, Self::RoomFull];

    /// The word used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::TimedOut => "timed_out",
            Self::RoomFull => "room_full",
        }
    }
}

impl Waits {
    /// How many events ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.of(outcome).load(Ordering::Relaxed)
    }

    fn add(&self, outcome: Outcome, events: usize) {
        self.of(outcome).fetch_add(events as u64, Ordering::Relaxed);
    }

    #[expect(clippy::indexing_slicing, reason = "the array has one slot for each variant")]
    fn of(&self, outcome: Outcome) -> &AtomicU64 {
        &self.0[outcome as usize]
    }
}

/// Names for events, of which `T` is all that is needed to count one later.
pub struct Naming<T> {
    names: Names,
    room: Room<T>,
    changed: watch::Receiver<u64>,
}

impl<T> Naming<T> {
    /// By these names.
    pub fn new(names: Names) -> Self {
        let changed = names.pods().changed();
        Self { names, room: Room::default(), changed }
    }

    /// Names both sides as far as they are known now.
    pub fn name(&mut self, subject: &mut Identity, peer: Option<&mut Identity>, now: Instant) {
        self.names.name(subject, now);
        if let Some(peer) = peer {
            self.names.name(peer, now);
        }
    }

    /// Whether the name is likely to be known in a moment.
    pub fn awaits(&self, subject: &Identity) -> bool {
        self.names.awaited(subject).is_some()
    }

    /// Whether the event is to wait for its subject's name. If so, `hold` is asked for the event and how many
    /// bytes it has, and [`Self::ready`] hands it back.
    pub fn waits(&mut self, subject: &Identity, hold: impl FnOnce() -> (T, usize), now: Instant) -> bool {
        let Some(id) = self.names.awaited(subject) else { return false };
        let (event, bytes) = hold();
        match self.room.wait(id, event, bytes, now) {
            Ok(()) => true,
            Err((_, why)) => {
                let outcome = match why {
                    Refused::GivenUp => Outcome::TimedOut,
                    Refused::Full => Outcome::RoomFull,
                };
                self.names.pods().waits().add(outcome, 1);
                false
            }
        }
    }

    /// Events that have waited long enough, because their container is known by now or because it is time.
    pub fn ready(&mut self, now: Instant) -> Option<Vec<T>> {
        if self.room.is_empty() {
            return None;
        }
        let names = &self.names;
        let (events, outcome) = match self.room.known(|id| names.is_known(id)) {
            Some(events) => (events, Outcome::Named),
            None => (self.room.expired(now)?, Outcome::TimedOut),
        };
        names.pods().waits().add(outcome, events.len());
        Some(events)
    }

    /// Events that wait; for the end, when there is no time left.
    pub fn drain(&mut self) -> Option<Vec<T>> {
        let events = self.room.drain()?;
        self.names.pods().waits().add(Outcome::TimedOut, events.len());
        Some(events)
    }

    /// When to look for [`Self::ready`] ones at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.room.deadline()
    }

    /// Is ready when somebody waits and a pod has changed. Can be dropped and called again.
    pub async fn changed(&mut self) {
        // An error would say that there are no pods any more, and they live as long as their names.
        if self.room.is_empty() || self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::identity::pods::index::Limits;
    use crate::identity::pods::{KubePod, Pods, Source};
    use crate::identity::runtime::Runtimes;
    use crate::identity::{Container, How, Pod};

    fn id(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    /// The pod `web` with two containers, of which `app` has the id of this letter.
    fn kube_pod(letter: Option<char>) -> KubePod {
        let id = letter.map(|letter| format!("containerd://{}", id(letter)));
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "shop", "name": "web", "uid": "u" },
            "spec": { "containers": [{ "name": "app" }, { "name": "side" }] },
            "status": { "containerStatuses": [{ "name": "app", "containerID": id }] },
        }))
        .unwrap()
    }

    fn identity(letter: char, uid: Option<&str>) -> Identity {
        let pod = uid.map(|uid| Arc::new(Pod { uid: uid.into(), ..Pod::default() }));
        let container = Container { id: id(letter).into(), pod, ..Container::default() };
        Identity { container: Some(Arc::new(container)), how: How::Cgroup, own: false }
    }

    /// With a source of pods that answers, or does not, or has not been heard of yet.
    fn naming(up: impl Into<Option<bool>>) -> (Arc<Pods>, Naming<u32>) {
        of_source(Some(Source::Api), up.into())
    }

    fn of_source(source: Option<Source>, up: Option<bool>) -> (Arc<Pods>, Naming<u32>) {
        let pods = Arc::new(Pods::new(source, Limits::default()));
        if let Some(up) = up {
            pods.set_up(up);
        }
        let naming = Naming::new(Names::new(Arc::clone(&pods), Runtimes::new("/nonexistent")));
        (pods, naming)
    }

    fn named(naming: &mut Naming<u32>, letter: char, uid: Option<&str>, now: Instant) -> String {
        let mut identity = identity(letter, uid);
        naming.name(&mut identity, None, now);
        let container = identity.container.unwrap();
        let pod = container.pod.as_deref().cloned().unwrap_or_default();
        format!("{}/{}/{}", pod.uid, pod.name, container.name)
    }

    #[test]
    fn an_event_waits_only_for_what_is_about_to_be_known() {
        let now = Instant::now();
        for (name, up, identity, want) in [
            ("its pod is new", Some(true), identity('b', Some("new")), true),
            ("its container is new", Some(true), identity('b', Some("u")), true),
            ("nobody has told of pods yet", None, identity('b', Some("new")), true),
            ("it is known", Some(true), identity('a', Some("u")), false),
            ("it is in no pod", Some(true), identity('b', None), false),
            ("the host", Some(true), Identity { container: None, how: How::Host, own: false }, false),
            ("nobody tells of pods", Some(false), identity('b', Some("new")), false),
        ] {
            let (pods, mut naming) = naming(up);
            pods.apply(kube_pod(Some('a')));
            assert_eq!(naming.waits(&identity, || (1, 10), now), want, "{name}");
            assert_eq!(naming.deadline().is_some(), want, "{name}");
        }
        let (_, mut naming) = of_source(None, None);
        assert!(!naming.waits(&identity('b', Some("new")), || (1, 10), now), "there is no source");
    }

    #[test]
    fn a_name_that_comes_ends_the_wait() {
        let now = Instant::now();
        let (pods, mut naming) = naming(true);
        assert!(naming.waits(&identity('a', Some("u")), || (1, 10), now));
        assert!(naming.waits(&identity('a', Some("u")), || (2, 10), now));
        pods.apply(kube_pod(None));
        assert_eq!(naming.ready(now), None, "the pod alone is not enough");
        assert_eq!(named(&mut naming, 'a', Some("u"), now), "u/web/");
        pods.apply(kube_pod(Some('a')));
        assert_eq!(naming.ready(now), Some(vec![1, 2]));
        assert_eq!(naming.ready(now), None);
        assert_eq!(named(&mut naming, 'a', Some("u"), now), "u/web/app");
        assert_eq!(Outcome::ALL.map(|outcome| pods.waits().count(outcome)), [2, 0, 0]);
    }

    #[test]
    fn a_name_that_does_not_come_is_not_waited_for_for_ever() {
        let now = Instant::now();
        let (pods, mut naming) = naming(true);
        assert!(naming.waits(&identity('a', Some("u")), || (1, 10), now));
        let end = naming.deadline().unwrap();
        assert!(end - now <= Duration::from_secs(3));
        assert_eq!(naming.ready(end), Some(vec![1]));
        assert!(!naming.waits(&identity('a', Some("u")), || (2, 10), end), "not again");
        assert!(naming.waits(&identity('b', Some("u")), || (3, 10), end));
        assert_eq!(naming.drain(), Some(vec![3]));
        assert!(!naming.waits(&identity('c', Some("u")), || (4, 1 << 30), end), "too large for the room");
        assert_eq!(Outcome::ALL.map(|outcome| pods.waits().count(outcome)), [0, 3, 1]);
        assert_eq!(named(&mut naming, 'a', Some("u"), end), "u//", "what the cgroup told stays");
    }

    #[tokio::test]
    async fn a_change_is_told_while_somebody_waits() {
        let (pods, mut naming) = naming(true);
        pods.apply(kube_pod(None));
        tokio::select! {
            biased;
            () = naming.changed() => panic!("nobody waits"),
            () = tokio::task::yield_now() => {}
        }
        assert!(naming.waits(&identity('a', Some("u")), || (1, 10), Instant::now()));
        naming.changed().await;
        let later = tokio::spawn({
            let pods = Arc::clone(&pods);
            async move { pods.apply(kube_pod(Some('a'))) }
        });
        naming.changed().await;
        later.await.unwrap();
        assert_eq!(naming.ready(Instant::now()), Some(vec![1]));
    }
}
