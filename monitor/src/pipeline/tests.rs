use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::capture::backlog::Entry;
use crate::capture::{Outlet, outlet};
use crate::identity::containers::Limits;
use crate::identity::pods::{Pods, index};
use crate::identity::runtime::Runtimes;
use crate::node::Hierarchy;

/// The serials of three batches; some come late.
const BATCHES: [&[u64]; 3] = [&[1, 2, 4], &[3, 6, 5, 7], &[8, 9, 10]];

/// What was told when, and what the next agent would find if this one were killed just then.
type Told = Arc<Mutex<Vec<(u64, Since)>>>;

fn stamp(serial: u64) -> AuditId {
    // After any agent has started.
    AuditId { millis: 4_000_000_000_000 + serial, serial }
}

fn text(serial: u64) -> String {
    format!(
        "audit({}): apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"/a\" pid=1 denied_mask=\"r\"",
        stamp(serial)
    )
}

/// An agent of which what it tells is written down.
fn agent(dir: &Path, both: Option<Both>) -> (Pipeline<impl FnMut(&Event<'_>) + use<>>, Arc<Ledger>, Told) {
    let (ledger, told) = (Arc::new(Ledger::default()), Told::default());
    let names =
        Names::new(Arc::new(Pods::new(None, index::Limits::default())), Runtimes::new("/nonexistent"));
    let resolver = Resolver::new(Arc::clone(&ledger), Hierarchy::V2, Limits::default());
    let (dir, list) = (dir.to_owned(), Arc::clone(&told));
    let pipeline = Pipeline::new(Arc::clone(&ledger), both, resolver, names, move |event| {
        let serial = event.violation.audit_id.unwrap().serial;
        list.lock().unwrap().push((serial, Checkpoint::left(&dir).unwrap()));
    });
    (pipeline, ledger, told)
}

/// Both ends of both queues; each batch of the audit stream is one of these.
fn queues(batches: &[&[u64]]) -> ([Outlet; 2], [Inlet; 2]) {
    let ledger = Arc::new(Ledger::default());
    let [ebpf, audit] =
        [Loss::EbpfQueueFull, Loss::AuditQueueFull].map(|loss| outlet(64, Arc::clone(&ledger), loss));
    for serials in batches {
        let mut batch = Batch::new(Instant::now());
        for serial in *serials {
            batch.push_parts(&[&1400_u16.to_ne_bytes(), text(*serial).as_bytes()]);
        }
        audit.0.deliver(batch);
    }
    ([ebpf.0, audit.0], [ebpf.1, audit.1])
}

/// Runs an agent over all batches; what it told, and what it left at the end.
async fn first(dir: &Path, both: Option<Both>) -> (Vec<(u64, Since)>, Since) {
    let (checkpoint, before) = Checkpoint::open(dir).unwrap();
    assert_eq!(before, None);
    let (pipeline, _, told) = agent(dir, both);
    let (outlets, [ebpf, audit]) = queues(&BATCHES);
    drop(outlets);
    pipeline.checking(Some(checkpoint)).run(ebpf, audit).await;
    let told = std::mem::take(&mut *told.lock().unwrap());
    (told, Checkpoint::left(dir).unwrap())
}

/// Runs the agent that comes after a kill, for which a log has everything, as has the audit stream once more; what
/// it tells, and how many it has doubts about.
async fn next(since: Since) -> (Vec<u64>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = Checkpoint::open(dir.path()).unwrap();
    let (pipeline, ledger, told) = agent(dir.path(), None);
    let entries = BATCHES.concat().into_iter().map(|serial| Entry::Record(text(serial).into_bytes().into()));
    let log = || Backlog { origin: Origin::Kmsg, path: "log", entries: entries.clone().collect(), cut: 0 };
    let (outlets, [ebpf, audit]) = queues(&BATCHES);
    drop(outlets);
    let pipeline = pipeline.checking(Some(checkpoint)).recovering(vec![log(), log()], since);
    pipeline.run(ebpf, audit).await;
    let told = told.lock().unwrap().iter().map(|(serial, _)| *serial).collect();
    (told, ledger.lost_total(Loss::LogInDoubt))
}

/// An agent is killed before, or after, each event that it tells: the next one tells of everything else, but for
/// what it says it has doubts about.
#[tokio::test]
async fn whenever_an_agent_is_killed_nothing_counts_twice_and_nothing_is_missed_in_silence() {
    let both = Both { since: SystemTime::now(), adopted: false, pinned: false };
    for (name, both) in [("one source", None), ("two, of which one saw nothing", Some(both))] {
        let dir = tempfile::tempdir().unwrap();
        let (told, left) = first(dir.path(), both).await;
        let all: BTreeSet<u64> = BATCHES.concat().into_iter().collect();
        let serials: Vec<u64> = told.iter().map(|(serial, _)| *serial).collect();
        assert_eq!(serials.iter().copied().collect::<BTreeSet<_>>(), all, "{name}");
        assert_eq!(serials.len(), all.len(), "{name}");
        assert!(all.iter().all(|serial| left.whose(stamp(*serial)) == Whose::Theirs), "{name}: at the end");

        for (at, (serial, since)) in told.iter().enumerate() {
            let (recovered, in_doubt) = next(*since).await;
            let mut times: BTreeMap<u64, u64> = all.iter().map(|serial| (*serial, 0)).collect();
            for serial in serials.iter().take(at).chain(&recovered) {
                *times.get_mut(serial).unwrap() += 1;
            }
            assert!(times.values().all(|times| *times <= 1), "{name}, killed at {serial}: {times:?}");
            let doubtful: Vec<_> = all.iter().filter(|s| since.whose(stamp(**s)) == Whose::InDoubt).collect();
            assert_eq!(in_doubt, doubtful.len() as u64, "{name}, killed at {serial}");
            assert!(doubtful.contains(&serial), "{name}: {serial} is under way");
            let missed = times.iter().filter(|(_, times)| **times == 0).map(|(serial, _)| serial);
            for missed in missed {
                assert!(
                    doubtful.contains(&missed),
                    "{name}, killed at {serial}: {missed} is missed in silence"
                );
            }
        }
    }
}

/// One write for a batch before it is told, and one after.
#[tokio::test]
async fn the_checkpoint_does_not_move_within_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (told, _) = first(dir.path(), None).await;
    let mut at_once: VecDeque<_> = told.iter().map(|(_, since)| *since).collect();
    for batch in BATCHES {
        let these: Vec<_> = at_once.drain(..batch.len()).collect();
        assert!(these.windows(2).all(|pair| pair[0] == pair[1]), "{batch:?}: {these:?}");
    }
}
