use std::collections::BTreeMap;

use super::super::subject::Reason;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A recorder, its clock, and an API server that remembers.
struct Lab {
    recorder: Recorder,
    now: Now,
    /// Name of each Event to its count.
    events: BTreeMap<Box<str>, u64>,
    notes: Vec<String>,
    writes: u64,
    /// What the server answers, in turn; done when there is nothing left.
    answers: Vec<Outcome>,
    provoked: u64,
}

impl Lab {
    fn new() -> Self {
        let now =
            Now { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30) };
        Self {
            recorder: Recorder::new(Limits::DEFAULT, now.instant),
            now,
            events: BTreeMap::new(),
            notes: Vec::new(),
            writes: 0,
            answers: Vec::new(),
            provoked: 0,
        }
    }

    fn see(&mut self, pod: &str, operation: &str) -> Seen {
        self.provoked += 1;
        let subject = Subject {
            reason: Reason::Denied,
            uid: pod,
            namespace: "shop",
            pod,
            container: "c",
            profile: "web",
            class: "file",
            operation,
        };
        self.recorder.observe(&subject, || (ContainerKind::Regular, format!("{pod} {operation}")), self.now)
    }

    /// Makes the writes that are due now.
    fn write(&mut self) {
        while let Some(write) = self.recorder.next(self.now) {
            self.writes += 1;
            let outcome = if self.answers.is_empty() { Outcome::Done } else { self.answers.remove(0) };
            if outcome == Outcome::Done {
                match write {
                    Write::Create(create) => {
                        assert!(create.last >= create.first);
                        assert_eq!(self.events.insert(create.name, create.count), None, "the name is new");
                        self.notes.push(create.note);
                    }
                    Write::Patch(patch) => {
                        let known = self.events.get_mut(&patch.name).expect("the Event was created");
                        assert!(patch.count > *known, "a patch says something new");
                        *known = patch.count;
                    }
                }
            }
            self.recorder.finished(outcome, self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.wall += time;
    }

    /// Lets time pass from deadline to deadline, as the task does.
    fn settle(&mut self, time: Duration) {
        let end = self.now.instant + time;
        self.write();
        while let Some(deadline) = self.recorder.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now.instant, "a deadline that has passed is a busy loop");
            self.pass(deadline - self.now.instant);
            self.write();
        }
        self.pass(end - self.now.instant);
        self.write();
    }

    fn counts(&self) -> Vec<u64> {
        self.events.values().copied().collect()
    }

    /// Each sighting is somewhere, once.
    fn check_sum(&self) {
        let Tally { created, counted, suppressed, refused } = self.recorder.tally();
        assert_eq!(created + counted + suppressed + refused, self.provoked, "{:?}", self.recorder.tally());
        assert_eq!(self.events.values().sum::<u64>() + suppressed + refused, self.provoked);
    }
}

#[test]
fn an_event_is_created_becomes_a_series_is_refreshed_and_finished() {
    let mut lab = Lab::new();
    for (name, sightings, pass, want_count, want_writes) in [
        ("the first creates", 1, Duration::ZERO, 1, 1),
        ("the second patches", 1, Duration::ZERO, 2, 2),
        ("others are counted in memory", 500, MINUTE, 2, 2),
        ("while they go on", 100, 5 * MINUTE, 2, 2),
        ("not yet", 100, 5 * MINUTE, 2, 2),
    ] {
        for _ in 0..sightings {
            lab.see("web-0", "open");
        }
        lab.settle(pass);
        assert_eq!((lab.counts(), lab.writes), (vec![want_count], want_writes), "{name}");
    }
    for _ in 0..5 {
        lab.see("web-0", "open");
        lab.settle(5 * MINUTE);
    }
    assert_eq!((lab.counts(), lab.writes), (vec![706], 3), "refreshed after half an hour");
    lab.settle(6 * MINUTE);
    assert_eq!((lab.counts(), lab.writes), (vec![707], 4), "finished: all was told");
    lab.see("web-0", "open");
    lab.settle(MINUTE);
    assert_eq!((lab.events.len(), lab.writes), (2, 5), "what comes after is a new Event");
    lab.check_sum();
}

#[test]
fn a_series_that_ends_is_told_to_its_end() {
    let mut lab = Lab::new();
    for _ in 0..7 {
        lab.see("web-0", "open");
        lab.settle(Duration::from_secs(1));
    }
    assert_eq!(lab.counts(), [2]);
    lab.settle(6 * MINUTE);
    assert_eq!((lab.counts(), lab.writes), (vec![7], 3));
    lab.check_sum();
}

#[test]
fn ten_thousand_denials_of_fifty_pods_keep_within_the_budgets_and_none_is_lost() {
    let mut lab = Lab::new();
    let start = lab.now.instant;
    for number in 0..10_000 {
        lab.see(&format!("pod-{}", number % 50), ["open", "exec", "mknod"][number / 50 % 3]);
        lab.write();
        lab.pass(Duration::from_millis(6));
    }
    assert_eq!(lab.now.instant - start, MINUTE);
    assert!(lab.writes <= 10 + 1, "{} writes in a minute", lab.writes);
    lab.settle(60 * MINUTE);
    assert!(lab.writes <= 10 + 61, "{} writes in an hour", lab.writes);
    assert!(lab.recorder.series.is_empty(), "all is finished");
    lab.check_sum();
}

#[test]
fn one_noisy_pod_has_its_own_budget_and_the_others_keep_theirs() {
    let mut lab = Lab::new();
    for operation in 0..20 {
        lab.see("noisy", &operation.to_string());
        lab.write();
    }
    lab.see("quiet", "open");
    lab.write();
    assert_eq!(lab.recorder.tally(), Tally { created: 6, counted: 0, suppressed: 15, refused: 0 });
    // The next one tells what the limit left out, and it is said once.
    lab.settle(30 * MINUTE);
    lab.see("noisy", "late");
    lab.write();
    lab.see("noisy", "later");
    lab.settle(MINUTE);
    let late: Vec<_> = lab.notes.iter().filter(|note| note.starts_with("noisy late")).collect();
    assert_eq!(
        late,
        ["noisy late. 15 other AppArmor events of this pod were not told (limit)", "noisy later"]
    );
    lab.check_sum();
}

#[test]
fn answers_decide_what_comes_next() {
    let later = Outcome::Later(Duration::from_secs(30));
    for (name, answers, want_counts, want_writes) in [
        ("created, lost answer", vec![Outcome::Failed, Outcome::Exists], vec![], 2),
        ("a name that is taken", vec![Outcome::Exists], vec![1], 2),
        ("not now", vec![later], vec![1], 2),
        ("away for a while", vec![Outcome::Failed; 5], vec![1], 6),
        ("no permission", vec![Outcome::Forbidden], vec![1], 2),
        ("refused", vec![Outcome::Refused], vec![], 1),
        ("no such namespace", vec![Outcome::Gone], vec![], 1),
    ] {
        let mut lab = Lab::new();
        lab.answers = answers;
        lab.see("web-0", "open");
        lab.settle(10 * MINUTE);
        assert_eq!((lab.counts(), lab.writes), (want_counts, want_writes), "{name}");
        let Tally { created, refused, .. } = lab.recorder.tally();
        assert_eq!(created + refused, 1, "{name}");
        assert!(lab.recorder.waiting == 0 && lab.recorder.series.is_empty(), "{name}");
    }
}

#[test]
fn an_event_that_is_gone_is_created_anew() {
    let mut lab = Lab::new();
    for operation in ["open", "open", "open", "open"] {
        lab.see("web-0", operation);
        lab.write();
    }
    assert_eq!(lab.counts(), [2]);
    let first = lab.events.keys().next().cloned();
    lab.answers = vec![Outcome::Gone];
    lab.settle(20 * MINUTE);
    // The old one told of two and is what somebody has deleted; the new one tells of the others.
    assert_eq!(lab.counts(), [2, 2]);
    assert_eq!(lab.events.keys().next(), first.as_ref());
    lab.check_sum();
}

#[test]
fn an_api_server_that_is_away_for_a_day_costs_little_and_hears_the_counts() {
    let mut lab = Lab::new();
    lab.answers = vec![Outcome::Failed; 10_000];
    for hour in 0..24 {
        for pod in 0..200 {
            lab.see(&format!("pod-{pod}"), "open");
            lab.see(&format!("pod-{pod}"), &hour.to_string());
        }
        lab.settle(60 * MINUTE);
        assert!(lab.recorder.waiting <= Limits::DEFAULT.waiting);
        assert!(lab.recorder.pods.len() <= Limits::DEFAULT.events);
    }
    assert!(lab.writes <= 24 * 31 + 10, "{} tries", lab.writes);
    assert!(lab.events.is_empty());
    lab.answers.clear();
    lab.settle(24 * 60 * MINUTE);
    assert!(lab.events.values().any(|count| *count > 1), "{:?}", lab.events);
    lab.check_sum();
}

#[test]
fn a_wall_clock_that_jumps_changes_no_budget_and_no_order() {
    let mut lab = Lab::new();
    lab.see("web-0", "open");
    lab.write();
    lab.now.wall -= 10_000 * MINUTE;
    lab.see("web-0", "open");
    lab.settle(MINUTE);
    assert_eq!((lab.counts(), lab.writes), (vec![2], 2));
    lab.now.wall += 1_000_000 * MINUTE;
    for operation in 0..30 {
        lab.see("web-0", &operation.to_string());
    }
    lab.write();
    assert!(lab.writes <= 5, "{}", lab.writes);
}

#[test]
fn memory_is_bounded_whatever_is_seen() {
    let mut lab = Lab::new();
    for pod in 0..5000 {
        lab.see(&format!("pod-{pod}"), "open");
        lab.settle(Duration::from_secs(61));
        assert!(lab.recorder.pods.len() <= Limits::DEFAULT.events);
        assert!(lab.recorder.series.len() <= Limits::DEFAULT.events);
    }
    lab.check_sum();
}

#[test]
fn at_the_end_all_is_told_that_the_budgets_allow() {
    let mut lab = Lab::new();
    for _ in 0..9 {
        lab.see("web-0", "open");
        lab.write();
    }
    assert_eq!(lab.counts(), [2]);
    lab.recorder.close();
    lab.write();
    assert_eq!(lab.counts(), [9]);
}
