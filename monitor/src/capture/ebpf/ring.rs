//! Draining the ring.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Instant;

use anyhow::Context as _;
use aya::Ebpf as Object;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use tokio_util::sync::CancellationToken;

use aa_monitor_ebpf::{KIND_VIOLATION, counter};

use super::load::{self, EbpfOptions, LoadError};
use crate::capture::{Batch, Outlet, Source};
use crate::ledger::{Ledger, Loss};
use crate::sys;

/// The loaded and attached programs, and their ring.
pub struct Ebpf {
    object: Object,
    ring: RingBuf<MapData>,
    stamps: bool,
    log: bool,
}

/// Batches taken in one go before other tasks get their turn.
const TURN: usize = 16;

impl Ebpf {
    /// Loads and attaches. Records queue in the ring from here on.
    pub fn load(options: EbpfOptions, ledger: &Ledger) -> Result<Self, LoadError> {
        let mut loaded = load::load(options)?;
        let ring = loaded.object.take_map("EVENTS").context("the object has no map EVENTS");
        let ring = ring.and_then(|map| Ok(RingBuf::try_from(map)?)).map_err(LoadError::Load)?;
        watch_counters(&mut loaded.object, ledger).map_err(LoadError::Load)?;
        watch_skipped_runs(&loaded.object, ledger);
        ledger.set_hooks(loaded.hooks);
        ledger.source_up(Source::Ebpf);
        Ok(Self { object: loaded.object, ring, stamps: loaded.stamps, log: options.log })
    }

    /// Whether records carry the audit stamp, without which the same violation cannot be recognised in the
    /// audit stream.
    pub fn has_stamps(&self) -> bool {
        self.stamps
    }

    /// Hands records over until `stop`, then detaches and hands over what is still in the ring.
    pub async fn run(self, to: Outlet, stop: CancellationToken) -> io::Result<()> {
        let Self { mut object, ring, stamps: _, log } = self;
        let log_task = log.then(|| forward_log(&mut object)).flatten();
        let mut ring = sys::watch_readable(ring)?;
        loop {
            let mut ready = tokio::select! {
                ready = ring.readable_mut() => ready?,
                () = stop.cancelled() => break,
            };
            if drain(ready.get_inner_mut(), &to, TURN) {
                ready.clear_ready();
            }
        }
        // The kernel-side counters are read through the maps: a last time while they are there.
        drop(object);
        drain(ring.get_mut(), &to, usize::MAX);
        if let Some(task) = log_task {
            task.abort();
        }
        Ok(())
    }
}

/// Takes up to `batches` batches; true when the ring was empty at the end.
fn drain(ring: &mut RingBuf<MapData>, to: &Outlet, batches: usize) -> bool {
    for _ in 0..batches {
        let mut batch = Batch::new(Instant::now());
        while !batch.is_full() {
            let Some(record) = ring.next() else {
                to.deliver(batch);
                return true;
            };
            // The kind is the third byte of every record.
            if record.get(2) == Some(&KIND_VIOLATION) {
                batch.push(&record);
            } else {
                batch.push_aside(&record);
            }
        }
        to.deliver(batch);
    }
    false
}

/// Has the programs' own counters read at every scrape.
fn watch_counters(object: &mut Object, ledger: &Ledger) -> anyhow::Result<()> {
    let map = object.take_map("COUNTERS").context("the object has no map COUNTERS")?;
    let counters: PerCpuArray<MapData, u64> = PerCpuArray::try_from(map)?;
    ledger.on_refresh(Box::new(move |ledger| {
        if let Ok(per_cpu) = counters.get(&counter::RING_FULL, 0) {
            ledger.set_lost(Loss::RingFull, per_cpu.iter().sum());
        }
        if let Ok(per_cpu) = counters.get(&counter::CGROUPS_LOST, 0) {
            ledger.identity().set_missed_in_kernel(per_cpu.iter().sum());
        }
    }));
    Ok(())
}

/// Has the runs read that the kernel skipped because the program was already running on that CPU: the
/// program's fdinfo tells (`recursion_misses`, from 5.12).
fn watch_skipped_runs(object: &Object, ledger: &Ledger) {
    let programs: Vec<_> = object
        .programs()
        .filter(|(name, _)| name.starts_with("common_lsm_audit"))
        .filter_map(|(_, program)| program.fd().ok()?.as_fd().try_clone_to_owned().ok())
        .collect();
    ledger.on_refresh(Box::new(move |ledger| {
        let skipped = programs.iter().filter_map(|fd| {
            let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
            recursion_misses(&fdinfo)
        });
        ledger.set_lost(Loss::ProgramBusy, skipped.sum());
    }));
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
