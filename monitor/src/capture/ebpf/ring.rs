//! Draining the ring.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::Ebpf as Object;
use aya::maps::{Map, MapData, PerCpuArray};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use aa_monitor_ebpf::{WIRE_VERSION, counter};

use super::attach;
use super::load::{self, EbpfOptions, LoadError};
use super::pins::PinnedRing;
use super::reader::{Found, Reader};
use super::silent;
use super::wakeups::Wakeups;
use crate::capture::receipts::Receipts;
use crate::capture::{Batch, Outlet, Printed, Source};
use crate::ledger::{Ledger, Loss};
use crate::sys;

/// The loaded and attached programs, and their ring.
pub struct Ebpf {
    object: Object,
    ring: Ring,
    before: Vec<Ring>,
    wakeups: Wakeups,
    stamps: bool,
    log: bool,
    adopted: bool,
    pinned: bool,
}

/// Batches taken in one go before other tasks get their turn.
const TURN: usize = 16;

/// How long a reader of the events may take nothing before it is not waited for any more.
const PATIENCE: Duration = Duration::from_millis(500);

impl Ebpf {
    /// Loads and attaches. Records queue in the ring from here on. `printed` is what is known of records that
    /// an agent before has printed and not released.
    pub fn load(options: &EbpfOptions, printed: Option<Printed>, ledger: &Ledger) -> Result<Self, LoadError> {
        let mut loaded = load::load(options)?;
        let released = Arc::new(Notify::new());
        let ring = match loaded.object.take_map("EVENTS") {
            Some(Map::RingBuf(map)) => Ring::open(&map, None, &released),
            _ => Err(anyhow::anyhow!("the object has no ring EVENTS")),
        };
        let ring = ring.map_err(LoadError::Load)?;
        let mut before = Vec::new();
        for (pin, map) in loaded.before {
            before.extend(take_over(pin, &map, printed, &released, ledger));
        }
        let wakeups = Wakeups::of(&mut loaded.object).map_err(LoadError::Load)?;
        watch_skipped_runs(loaded.event_anchors, loaded.stamp_anchors, ledger);
        watch_counters(&mut loaded.object, ledger).map_err(LoadError::Load)?;
        silent::watch(&mut loaded.object, options.silent, ledger).map_err(LoadError::Load)?;
        ledger.set_hooks(loaded.hooks);
        ledger.source_up(Source::Ebpf);
        Ok(Self {
            object: loaded.object,
            ring,
            before,
            wakeups,
            stamps: loaded.stamps,
            log: options.log,
            adopted: loaded.adopted,
            pinned: loaded.pinned,
        })
    }

    /// Whether records carry the audit stamp, without which the same violation cannot be recognised in the
    /// audit stream.
    pub fn has_stamps(&self) -> bool {
        self.stamps
    }

    /// Whether the programs were attached before this agent came: what happened then was seen by them.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether they stay attached when it goes.
    pub fn pinned(&self) -> bool {
        self.pinned
    }

    /// Hands records over until `stop`, then those that are still in the ring. Programs that are not pinned
    /// are detached before that; those that are go on, and the next agent finds what they add.
    pub async fn run(self, to: Outlet, stop: CancellationToken) -> io::Result<()> {
        let Self { mut object, mut ring, mut before, mut wakeups, stamps: _, log, adopted: _, pinned } = self;
        let log_task = log.then(|| forward_log(&mut object)).flatten();
        let watched = sys::watch_readable(ring.map.try_clone()?)?;
        while !stop.is_cancelled() {
            // In their order: what an agent before left comes first.
            let mut left = false;
            for ring in &mut before {
                left |= ring.drain(&to, usize::MAX).await? == Left::More;
            }
            before.retain(|ring| !ring.retire());
            if left || ring.drain(&to, TURN).await? == Left::More {
                tokio::task::yield_now().await;
                continue;
            }
            wakeups.looked(ring.taken, Instant::now())?;
            wait(&watched, &mut wakeups, &mut ring, &to, &stop).await?;
        }
        if !pinned {
            attach::detach_events(&mut object);
        }
        // The kernel-side counters are read through the maps: a last time while they are there.
        drop(object);
        let end = pinned.then(|| ring.reader.newest());
        ring.drain_to(end, &to).await?;
        if let Some(task) = log_task {
            task.abort();
        }
        Ok(())
    }
}

/// Waits for a reason to look at the rings again.
async fn wait(
    watched: &AsyncFd<OwnedFd>,
    wakeups: &mut Wakeups,
    ring: &mut Ring,
    to: &Outlet,
    stop: &CancellationToken,
) -> io::Result<()> {
    tokio::select! {
        // Cleared before the ring is read: what is added meanwhile makes it ready again.
        ready = watched.readable(), if wakeups.are_on() => ready?.clear_ready(),
        // A record that is added while another is held wakes nobody (`bpf_ringbuf_commit` tells only a reader
        // that had caught up), so each release is followed by a look.
        () = ring.released.notified(), if wakeups.are_on() => {}
        () = wakeups.time_to_look() => {}
        () = to.asked() => {
            let at = Instant::now();
            if ring.drain(to, TURN).await? == Left::Nothing {
                to.deliver_when_room(Batch::marker(at)).await;
            }
        }
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// Whether a ring has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    More,
    Nothing,
}

/// A ring, and what is under way of it.
struct Ring {
    id: u32,
    map: OwnedFd,
    reader: Reader,
    /// How many records were read.
    taken: u64,
    receipts: Arc<Receipts>,
    /// A release has moved the consumer's position, of this ring or of another.
    released: Arc<Notify>,
    /// Of a ring that nobody writes to any more.
    pin: Option<PathBuf>,
    /// The reader of the events is, and is not waited for.
    behind: bool,
}

impl Ring {
    fn open(map: &MapData, pin: Option<PathBuf>, released: &Arc<Notify>) -> anyhow::Result<Self> {
        let info = map.info()?;
        let fd = map.fd().as_fd().try_clone_to_owned()?;
        let reader = Reader::new(&fd, info.max_entries() as usize).context("mapping the ring")?;
        let released = Arc::clone(released);
        let receipts = Receipts::new({
            let (consumer, released) = (Arc::clone(reader.consumer()), Arc::clone(&released));
            move |position| {
                consumer.release(position);
                released.notify_one();
            }
        });
        Ok(Self { id: info.id(), map: fd, reader, taken: 0, receipts, released, pin, behind: false })
    }

    /// Hands over up to `batches` batches.
    async fn drain(&mut self, to: &Outlet, batches: usize) -> io::Result<Left> {
        for _ in 0..batches {
            let (batch, left) = self.fill()?;
            to.deliver_when_room(batch).await;
            self.hold_back().await;
            if left == Left::Nothing {
                return Ok(left);
            }
        }
        Ok(Left::More)
    }

    /// Waits for what is read to be printed, when there is much of it: what is in the ring is not lost. But a
    /// reader of the events that has stopped must not keep the programs out: after a moment it is not waited
    /// for any more until it has caught up. What is released then is printed all the same, unless the agent is
    /// killed.
    async fn hold_back(&mut self) {
        let limit = self.reader.size() / 8;
        if self.receipts.open() <= 1 {
            self.behind = false;
        }
        while !self.behind && self.reader.held() > limit {
            self.behind = tokio::time::timeout(PATIENCE, self.released.notified()).await.is_err();
        }
        while self.reader.held() > limit && self.receipts.release_oldest() {}
    }

    /// Hands over what there is, up to `end` if that is given.
    async fn drain_to(&mut self, end: Option<usize>, to: &Outlet) -> io::Result<()> {
        let behind = |at: usize| end.is_none_or(|end| end.wrapping_sub(at).cast_signed() > 0);
        while behind(self.reader.next_position()) {
            if self.drain(to, 1).await? == Left::Nothing {
                break;
            }
        }
        Ok(())
    }

    /// A batch of what comes next.
    fn fill(&mut self) -> io::Result<(Batch, Left)> {
        let now = Instant::now();
        let mut batch = Batch::new(now);
        let left = loop {
            if batch.is_full() {
                break Left::More;
            }
            match self.reader.read(&mut batch)? {
                Found::Record => {}
                Found::Nothing => break Left::Nothing,
                Found::Nonsense => return Err(io::Error::other("the ring is broken: it holds no records")),
            }
        };
        self.taken += batch.len() as u64;
        if !batch.is_empty() {
            batch.carry(self.receipts.issue(self.id, self.reader.next_position()));
            if left == Left::Nothing && self.pin.is_none() {
                batch.mark_drained(now);
            }
        }
        Ok((batch, left))
    }

    /// Removes the pin of a ring of which all is done with; true when that is so.
    fn retire(&self) -> bool {
        let Some(pin) = &self.pin else { return false };
        if self.receipts.open() > 0
            || self.reader.held() > 0
            || self.reader.next_position() != self.reader.newest()
        {
            return false;
        }
        if let Err(error) = std::fs::remove_file(pin)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{}: {error}", pin.display());
        }
        tracing::info!(ring = %pin.display(), "what the agent before left is counted");
        true
    }
}

/// Opens the ring of an agent before. One that it had printed to its end, and one that cannot be understood,
/// is told off and removed.
fn take_over(
    PinnedRing { number, wire, foreign, path }: PinnedRing,
    map: &MapData,
    printed: Option<Printed>,
    released: &Arc<Notify>,
    ledger: &Ledger,
) -> Option<Ring> {
    let mut ring = match Ring::open(map, Some(path), released) {
        Ok(ring) => ring,
        Err(error) => {
            tracing::warn!("ring {number} of an agent before cannot be read: {error:#}");
            return None;
        }
    };
    if let Some(printed) = printed.filter(|printed| printed.ring == ring.id)
        && ring.reader.next_position() != printed.position
        && ring.reader.skip_to(printed.position)
    {
        ring.reader.consumer().release(printed.position);
        tracing::info!("the agent before had printed more than it could note; that is not printed again");
    }
    // What programs of another layout told until they were detached, the audit stream may have told of too, and this
    // agent does not know since when.
    if wire != WIRE_VERSION || foreign {
        let mut lost = 0;
        while let Ok((batch, left)) = ring.fill() {
            lost += batch.len() as u64 - batch.asides();
            if left == Left::Nothing {
                break;
            }
        }
        ledger.lose(Loss::WireVersion, lost);
        tracing::warn!(
            lost,
            "the agent before wrote version {wire} of the records{}, this one reads version {WIRE_VERSION}",
            if foreign { " and pinned them elsewhere" } else { "" }
        );
        ring.retire();
        return None;
    }
    Some(ring)
}

/// Has the programs' own counters read at every scrape.
fn watch_counters(object: &mut Object, ledger: &Ledger) -> anyhow::Result<()> {
    let map = object.take_map("COUNTERS").context("the object has no map COUNTERS")?;
    let counters: PerCpuArray<MapData, u64> = PerCpuArray::try_from(map)?;
    ledger.on_refresh(Box::new(move |ledger| {
        let read = |slot| counters.get(&slot, 0).map_or(0, |per_cpu| per_cpu.iter().sum());
        // The losses first: a violation that is lost in between is then seen and not yet lost.
        for (slot, loss) in [
            (counter::RING_FULL, Loss::RingFull),
            (counter::OVER_SHARE, Loss::OverShare),
            (counter::UNREADABLE, Loss::Unreadable),
            (counter::UNHEARD, Loss::Unheard),
            (counter::TALLIES_FULL, Loss::TalliesFull),
        ] {
            ledger.set_lost(loss, read(slot));
        }
        ledger.set_seen(read(counter::SEEN));
        ledger.runs().set_rescued(read(counter::RESCUED));
        ledger.stamp_runs().set_rescued(read(counter::STAMPS_RESCUED));
        ledger.set_lost(Loss::StampsFull, read(counter::STAMPS_FULL) + ledger.stamp_runs().lost());
        ledger.identity().set_missed_in_kernel(read(counter::CGROUPS_LOST));
        ledger.identity().set_targets_missed(read(counter::TARGETS_FULL));
    }));
    Ok(())
}

/// Has the runs read that the kernel skipped because the program was already running on that CPU: the
/// program's fdinfo tells (`recursion_misses`, from 5.12).
fn watch_skipped_runs(events: Vec<OwnedFd>, stamps: Vec<OwnedFd>, ledger: &Ledger) {
    ledger.on_refresh(Box::new(move |ledger| {
        ledger.runs().set_skipped(events.iter().filter_map(skipped_runs).sum());
        ledger.stamp_runs().set_skipped(stamps.iter().filter_map(skipped_runs).sum());
    }));
}

/// How many runs of a program the kernel skipped.
pub(super) fn skipped_runs(program: &OwnedFd) -> Option<u64> {
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    recursion_misses(&fdinfo)
}

fn recursion_misses(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

/// Forwards what the programs log to the agent's own log.
fn forward_log(object: &mut Object) -> Option<tokio::task::JoinHandle<()>> {
    let logger = match aya_log::EbpfLogger::init(object) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "the programs' log messages cannot be read");
            return None;
        }
    };
    Some(tokio::spawn(async move {
        let Ok(mut logger) = sys::watch_readable(logger) else { return };
        loop {
            let Ok(mut ready) = logger.readable_mut().await else { return };
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::recursion_misses;

    #[test]
    fn reads_fdinfo() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t17\nverified_insns:\t900\n";
        assert_eq!(recursion_misses(fdinfo), Some(17));
        assert_eq!(recursion_misses("pos:\t0\n"), None, "before 5.12");
    }
}
