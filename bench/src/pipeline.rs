//! The agent without a kernel: from the sources' batches to the outputs, on one thread.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aa_monitor::capture::{Batch, Both, Outlet, Source, outlet};
use aa_monitor::identity::containers::Limits;
use aa_monitor::identity::names::Names;
use aa_monitor::identity::pods::{self, Pods, index};
use aa_monitor::identity::resolver::Resolver;
use aa_monitor::identity::runtime::Runtimes;
use aa_monitor::ledger::{Ledger, Loss};
use aa_monitor::node::Hierarchy;
use aa_monitor::output::history::History;
use aa_monitor::output::live::Live;
use aa_monitor::output::metrics::Metrics;
use aa_monitor::pipeline::Pipeline;
use anyhow::{Context as _, Result, bail, ensure};

use crate::allocations;
use crate::counted::under_callgrind;
use crate::time::now;
use crate::traffic::{self, Traffic};

/// Batches of each source that wait at once: a burst of two thousand violations.
const BURST: usize = 8;
/// Violations before the clock starts: their series are there then, and the pools have their size.
const WARM_UP: u64 = 20_000;
/// What `aa-monitor run` has by default.
const QUEUE: usize = 4_096;
const SERIES_LIMIT: usize = 5_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Both sources, up to the metrics.
    Both,
    /// The eBPF source alone, up to the metrics.
    Ebpf,
    /// The audit stream alone, up to the metrics.
    Audit,
    /// Both sources, and everything that an agent without a printer does with an event.
    Outputs,
}

impl Way {
    /// By its name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "both" => Self::Both,
            "ebpf" => Self::Ebpf,
            "audit" => Self::Audit,
            "outputs" => Self::Outputs,
            _ => bail!("{name}: both, ebpf, audit or outputs"),
        })
    }

    const fn uses(self, source: Source) -> bool {
        match self {
            Self::Both | Self::Outputs => true,
            Self::Ebpf => matches!(source, Source::Ebpf),
            Self::Audit => matches!(source, Source::Audit),
        }
    }
}

/// Where batches go in, and what became of them.
struct Agent {
    ledger: Arc<Ledger>,
    counted: Arc<AtomicU64>,
    ebpf: Outlet,
    audit: Outlet,
    way: Way,
}

/// Sends so many violations through the pipeline and prints how long that took, as JSON.
///
/// The clock is the thread's own, and it stands still while the next burst is put together.
pub(crate) fn run(way: Way, violations: u64, recorded: &[String]) -> Result<()> {
    let mut traffic = Traffic::of(recorded)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (agent, metrics) = Agent::start(way)?;
        agent.send(&mut traffic, WARM_UP).await?;
        let asked = allocations::asked();
        let (nanos, apart) = agent.send(&mut traffic, violations).await?;
        let asked = allocations::asked() - asked - apart;
        agent.check(&metrics, WARM_UP + violations)?;
        let nanos = nanos.as_nanos();
        writeln!(
            std::io::stdout(),
            r#"{{"records":{violations},"understood":{violations},"nanos":{nanos},"allocations":{asked}}}"#
        )
        .context("writing the result")
    })
}

/// Sends so many violations through the pipeline, for callgrind.
pub(crate) fn count(way: Way, violations: u64, recorded: &[String]) -> Result<()> {
    let mut traffic = Traffic::of(recorded)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (agent, metrics) = runtime.block_on(async { Agent::start(way) })?;
    runtime.block_on(agent.send(&mut traffic, WARM_UP))?;
    let mut left = violations;
    while left > 0 {
        let mut burst = burst(&mut traffic, &mut left)?;
        under_callgrind(&mut || runtime.block_on(agent.drain(std::mem::take(&mut burst))));
    }
    agent.check(&metrics, WARM_UP + violations)
}

/// Batches of both sources, with so many violations at most.
fn burst(traffic: &mut Traffic, left: &mut u64) -> Result<Vec<(Batch, Batch)>> {
    let mut burst = Vec::new();
    while burst.len() < BURST && *left > 0 {
        let (ring, audit) = traffic.next(*left)?;
        *left -= ring.len() as u64;
        burst.push((ring, audit));
    }
    Ok(burst)
}

impl Agent {
    /// Starts the pipeline of a node with two hundred pods.
    fn start(way: Way) -> Result<(Self, Arc<Metrics>)> {
        let ledger = Arc::new(Ledger::default());
        let (ebpf, from_ebpf) = outlet(QUEUE, Arc::clone(&ledger), Loss::EbpfQueueFull);
        let (audit, from_audit) = outlet(QUEUE, Arc::clone(&ledger), Loss::AuditQueueFull);
        let pods = Arc::new(Pods::new(Some(pods::Source::Api), index::Limits::default()));
        traffic::tell_pods(&pods)?;
        let names = Names::new(pods, Runtimes::new("/nonexistent"));
        let resolver = Resolver::new(Arc::clone(&ledger), Hierarchy::of_node(), Limits::default());
        let both = Both { since: SystemTime::now(), adopted: false, pinned: false };
        let both = (way.uses(Source::Ebpf) && way.uses(Source::Audit)).then_some(both);
        let metrics = Arc::new(Metrics::new(Arc::clone(&ledger), SERIES_LIMIT)?);
        let counted = Arc::new(AtomicU64::new(0));
        let more = (way == Way::Outputs).then(|| {
            let history = Arc::new(History::in_memory());
            (Arc::clone(&history), Live::new(history))
        });
        let (sink, count) = (Arc::clone(&metrics), Arc::clone(&counted));
        let pipeline = Pipeline::new(Arc::clone(&ledger), both, resolver, names, move |event| {
            sink.observe(event);
            if let Some((history, live)) = &more {
                history.observe(event);
                live.observe(event);
            }
            count.fetch_add(1, Ordering::Relaxed);
        });
        ebpf.deliver(traffic::cgroups());
        tokio::spawn(pipeline.run(from_ebpf, from_audit));
        Ok((Self { ledger, counted, ebpf, audit, way }, metrics))
    }

    /// Sends violations in bursts; how long the pipeline took, and the allocations that were not its own.
    async fn send(&self, traffic: &mut Traffic, violations: u64) -> Result<(Duration, u64)> {
        let (mut left, mut spent, mut apart) = (violations, Duration::ZERO, 0);
        while left > 0 {
            let asked = allocations::asked();
            let burst = burst(traffic, &mut left)?;
            apart += allocations::asked() - asked;
            let start = now()?;
            self.drain(burst).await;
            spent += now()? - start;
        }
        Ok((spent, apart))
    }

    /// Hands a burst over and lets the pipeline take all of it.
    async fn drain(&self, burst: Vec<(Batch, Batch)>) {
        let received = |source| self.ledger.received_total(source);
        let until = Source::ALL.map(|source| {
            let sent: usize = burst.iter().map(|(ring, _)| ring.len()).sum();
            received(source) + if self.way.uses(source) { sent as u64 } else { 0 }
        });
        for (ring, audit) in burst {
            for (source, outlet, batch) in
                [(Source::Ebpf, &self.ebpf, ring), (Source::Audit, &self.audit, audit)]
            {
                if self.way.uses(source) {
                    outlet.deliver(batch);
                }
            }
        }
        let lost = || Loss::ALL.into_iter().any(|loss| self.ledger.lost_total(loss) > 0);
        while Source::ALL.into_iter().zip(until).any(|(source, until)| received(source) < until) && !lost() {
            tokio::task::yield_now().await;
        }
    }

    /// Whether each violation was counted once.
    fn check(&self, metrics: &Metrics, sent: u64) -> Result<()> {
        for loss in Loss::ALL {
            let lost = self.ledger.lost_total(loss);
            ensure!(lost == 0, "{lost} records were lost: {loss:?}");
        }
        let counted = self.counted.load(Ordering::Relaxed);
        ensure!(counted == sent, "{sent} violations were sent, and {counted} counted");
        let text = metrics.encode()?;
        let rows = text.lines().filter(|line| line.starts_with("apparmor_events_total{"));
        let values = rows.filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok());
        let shown: f64 = values.sum();
        ensure!(shown == sent as f64, "{sent} violations were sent, and the metrics show {shown}");
        Ok(())
    }
}
