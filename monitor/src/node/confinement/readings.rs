//! What was read of each running container, and what has to be read again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::node::label::Label;

/// A runtime's own process stands in the container for a moment before it becomes the container's; what was read
/// of one is believed when it is the same after this.
const SETTLE: Duration = Duration::from_secs(1);

/// A container whose process is not found is looked for less and less often, down to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Reading {
    /// What was read last, and since when it is that.
    last: Option<Label>,
    since: Instant,
    /// What is sure.
    believed: Option<Label>,
    /// When to read again; never while nothing changes.
    next: Option<Instant>,
    misses: u32,
}

/// The labels of running containers by their ids. As many as there are containers.
#[derive(Debug, Default)]
pub(super) struct Readings(HashMap<Box<str>, Reading>);

impl Readings {
    /// Forgets the containers that are not among `running`, and has the new ones read.
    pub(super) fn keep(&mut self, running: &HashSet<&str>, now: Instant) {
        self.0.retain(|id, _| running.contains(&**id));
        for id in running {
            if !self.0.contains_key(*id) {
                let reading = Reading { last: None, since: now, believed: None, next: Some(now), misses: 0 };
                self.0.insert((*id).into(), reading);
            }
        }
    }

    /// Has everything read again: policy has changed, and with it any label may have.
    pub(super) fn invalidate(&mut self, now: Instant) {
        for reading in self.0.values_mut() {
            reading.next = Some(now);
        }
    }

    /// Which containers have to be read now.
    pub(super) fn due(&self, now: Instant) -> HashSet<&str> {
        let due = self.0.iter().filter(|(_, reading)| reading.next.is_some_and(|next| next <= now));
        due.map(|(id, _)| &**id).collect()
    }

    /// Takes what was read of a container that was due.
    pub(super) fn take(&mut self, id: &str, label: Option<Label>, now: Instant) {
        let Some(reading) = self.0.get_mut(id) else { return };
        if reading.last != label {
            reading.last = label;
            reading.since = now;
        }
        if reading.last.is_none() {
            let pause = SETTLE.saturating_mul(1 << reading.misses.min(10)).min(LONGEST_PAUSE);
            reading.misses += 1;
            reading.next = Some(now + pause);
            return;
        }
        reading.misses = 0;
        let stays = reading.last == reading.believed || now >= reading.since + SETTLE;
        if stays {
            reading.believed = reading.last.clone();
        }
        reading.next = (!stays).then(|| reading.since + SETTLE);
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|reading| reading.next).min()
    }

    /// What a container runs under, once that is sure.
    pub(super) fn believed(&self, id: &str) -> Option<Label> {
        self.0.get(id)?.believed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Option<Label> {
        Label::parse(text.as_bytes())
    }

    #[test]
    fn a_label_is_believed_when_it_stays() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut readings = Readings::default();
        readings.keep(&HashSet::from(["c"]), start);
        for (name, after, read, want, next) in [
            ("the runtime's", 0, "unconfined", None, Some(1000)),
            ("the container's", 1000, "web (enforce)", None, Some(2000)),
            ("read early", 1500, "web (enforce)", None, Some(2000)),
            ("it stays", 2000, "web (enforce)", Some("web (enforce)"), None),
        ] {
            readings.take("c", label(read), at(after));
            assert_eq!(readings.believed("c"), want.and_then(label), "{name}");
            assert_eq!(readings.deadline(), next.map(at), "{name}");
        }
        readings.invalidate(at(9000));
        assert_eq!(readings.due(at(9000)), HashSet::from(["c"]));
        readings.take("c", label("web (enforce)"), at(9000));
        assert_eq!(readings.deadline(), None, "policy changed and this did not");
        readings.invalidate(at(10_000));
        readings.take("c", label("unconfined"), at(10_000));
        assert_eq!(readings.believed("c"), label("web (enforce)"), "not sure yet");
        readings.take("c", label("unconfined"), at(11_000));
        assert_eq!(readings.believed("c"), label("unconfined"));
        readings.keep(&HashSet::new(), at(12_000));
        assert_eq!(readings.believed("c"), None);
    }

    #[test]
    fn a_container_without_a_process_is_looked_for_less_and_less() {
        let mut now = Instant::now();
        let mut readings = Readings::default();
        readings.keep(&HashSet::from(["c"]), now);
        for want in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(readings.due(now).len(), 1);
            readings.take("c", None, now);
            assert_eq!(readings.deadline(), Some(now + Duration::from_secs(want)));
            now += Duration::from_secs(want);
        }
        readings.take("c", label("unconfined"), now);
        readings.take("c", None, now);
        assert_eq!(readings.deadline(), Some(now + SETTLE), "found and lost: from the start");
    }
}
