//! Starting the sources: what was asked for, what works, and a line about each.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::audit::{AuditOptions, AuditStream};
#[cfg(feature = "ebpf")]
use super::ebpf::{Ebpf, EbpfOptions};
use super::{Inlet, Printed, Source, outlet};
use crate::ledger::{Ledger, Loss};

/// Which sources to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All that work, together.
    #[default]
    Auto,
    /// This one only.
    Only(Source),
}

impl Choice {
    fn includes(self, source: Source) -> bool {
        match self {
            Self::Auto => true,
            Self::Only(only) => only == source,
        }
    }
}

/// How to start the sources.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which ones.
    pub choice: Choice,
    /// How to load the eBPF programs.
    #[cfg(feature = "ebpf")]
    pub ebpf: EbpfOptions,
    /// How to open the audit stream.
    pub audit: AuditOptions,
    /// How many records of each source may wait for the pipeline.
    pub queue_length: usize,
    /// What an agent before had printed and could not release.
    pub printed: Option<Printed>,
}

/// Two sources that see the same violations.
#[derive(Clone, Copy, Debug)]
pub struct Both {
    /// Since when the eBPF source sees what the audit stream carries.
    pub since: SystemTime,
    /// The programs were attached before; then this is since when the audit stream carries what they see.
    pub adopted: bool,
    /// The programs stay attached when the sources end.
    pub pinned: bool,
}

/// The running sources.
pub struct Streams {
    /// Batches from the eBPF ring; closed when there is none.
    pub ebpf: Inlet,
    /// Batches from the audit stream; closed when there is none.
    pub audit: Inlet,
    /// When both run.
    pub both: Option<Both>,
    /// What happened before this agent waits in the ring of the one before.
    pub adopted: bool,
    /// The sources' tasks; they end after `stop`, when they have handed over what the kernel still had.
    pub tasks: JoinSet<()>,
}

/// Starts what was asked for and works. What does not work is logged and noted in the ledger: the agent
/// stays up either way.
pub async fn start(options: Options, ledger: &Arc<Ledger>, stop: &CancellationToken) -> Streams {
    let (to_ebpf, ebpf) = outlet(options.queue_length, Arc::clone(ledger), Loss::EbpfQueueFull);
    let (to_audit, audit) = outlet(options.queue_length, Arc::clone(ledger), Loss::AuditQueueFull);
    let mut tasks = JoinSet::new();

    // The audit stream first: what eBPF sees it should have carried.
    let mut stream = None;
    if options.choice.includes(Source::Audit) {
        match AuditStream::open(options.audit, ledger) {
            Ok(opened) => stream = Some(opened),
            Err(error) => down(Source::Audit, &error, ledger),
        }
    }

    #[cfg(feature = "ebpf")]
    let (both, adopted) = {
        let opened = SystemTime::now();
        let loaded = match options.choice.includes(Source::Ebpf) {
            true => load_ebpf(options.ebpf, options.printed, ledger).await,
            false => None,
        };
        if loaded.as_ref().is_some_and(|ebpf| !ebpf.has_stamps()) && stream.take().is_some() {
            let why = "not used beside eBPF: without a hook on audit_pre the same violation cannot be \
                       recognised in both, and would be counted twice";
            down(Source::Audit, &why, ledger);
        }
        let both = loaded.as_ref().filter(|_| stream.is_some()).map(|ebpf| Both {
            since: if ebpf.adopted() { opened } else { SystemTime::now() },
            adopted: ebpf.adopted(),
            pinned: ebpf.pinned(),
        });
        let adopted = loaded.as_ref().is_some_and(Ebpf::adopted);
        if let Some(ebpf) = loaded {
            tasks.spawn(ended(Source::Ebpf, ebpf.run(to_ebpf, stop.clone()), Arc::clone(ledger)));
        }
        (both, adopted)
    };
    #[cfg(not(feature = "ebpf"))]
    let (both, adopted) = {
        drop(to_ebpf);
        if options.choice.includes(Source::Ebpf) {
            down(Source::Ebpf, &"this binary was built without the eBPF programs", ledger);
        }
        (None, false)
    };

    if let Some(stream) = stream {
        info!(source = %Source::Audit, "source up: audit netlink multicast");
        tasks.spawn(ended(Source::Audit, stream.run(to_audit, stop.clone()), Arc::clone(ledger)));
    }
    Streams { ebpf, audit, both, adopted, tasks }
}

#[cfg(feature = "ebpf")]
async fn load_ebpf(options: EbpfOptions, printed: Option<Printed>, ledger: &Arc<Ledger>) -> Option<Ebpf> {
    let books = Arc::clone(ledger);
    // The verifier takes a while; the metrics are served meanwhile.
    let loaded = tokio::task::spawn_blocking(move || Ebpf::load(&options, printed, &books)).await;
    match loaded {
        Ok(Ok(ebpf)) => {
            for hook in ledger.hooks() {
                let how = hook.attached.as_str();
                if hook.reason.is_empty() {
                    info!(source = %Source::Ebpf, function = hook.function, how, "hook attached");
                } else {
                    warn!(source = %Source::Ebpf, function = hook.function, how, reason = hook.reason, "hook attached in a second-best way");
                }
            }
            info!(
                source = %Source::Ebpf,
                pinned = ebpf.pinned(),
                adopted = ebpf.adopted(),
                "source up: eBPF programs"
            );
            Some(ebpf)
        }
        Ok(Err(error)) => {
            down(Source::Ebpf, &error, ledger);
            None
        }
        Err(panicked) => {
            down(Source::Ebpf, &panicked, ledger);
            None
        }
    }
}

/// Runs a source to its end; an end that nobody asked for is said.
async fn ended(source: Source, run: impl Future<Output = std::io::Result<()>>, ledger: Arc<Ledger>) {
    match run.await {
        Ok(()) => ledger.source_down(source, "stopped"),
        Err(error) => down(source, &error, &ledger),
    }
}

fn down(source: Source, why: &dyn std::fmt::Display, ledger: &Ledger) {
    warn!(%source, "source down: {why}");
    ledger.source_down(source, why.to_string());
}
