//! The world: what becomes of an event that is counted once.

mod detail;
pub(crate) mod escape;
pub mod history;
pub mod http;
mod json;
pub mod kube_events;
pub mod live;
pub mod metrics;
pub mod node_labels;
mod printer;
mod report;
mod summary;
mod table;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use self::history::History;
use self::kube_events::{KubeEvents, KubeEventsChoice};
use self::live::Live;
use self::metrics::Metrics;
use self::printer::Printer;
pub use self::report::{Report, ReportFormat};
use crate::capture::{Printed, Receipt};
use crate::config::Config;
use crate::identity::pods::client;
use crate::identity::unrecorded::Unrecorded;
use crate::ledger::{Ledger, Loss, StateFailure};
use crate::merge::Event;
use crate::state::{Journal, Left};

/// What stands in the place of a verdict where denials without a record are told beside events.
pub const SILENT: &str = "silent";

/// A moment in nanoseconds since the epoch.
fn since_epoch(time: SystemTime) -> u64 {
    let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Everywhere an event goes. Shared by the stages before and by the HTTP server.
pub struct Outputs {
    metrics: Arc<Metrics>,
    printer: Option<Printer>,
    printed: Option<Printed>,
    history: Arc<History>,
    live: Arc<Live>,
    kube_events: Option<Arc<KubeEvents>>,
}

impl Outputs {
    /// Opens what `config` asks for.
    pub fn new(config: &Config, ledger: &Arc<Ledger>) -> anyhow::Result<Self> {
        let metrics = Metrics::with_labels(Arc::clone(ledger), config.series_limit, &config.metric_labels)
            .context("cannot set up the metrics")?;
        let metrics = Arc::new(metrics);
        let choice = config.kube_events;
        let wanted = choice != KubeEventsChoice::Off && client::configured(config.kubeconfig.as_deref());
        let kube_events = wanted.then(|| Arc::new(KubeEvents::new(choice)));
        if let Some(events) = &kube_events {
            metrics.tell_of_kube_events(Arc::clone(events));
        }
        let mut printed = None;
        let printer = Printer::start(config, Arc::clone(ledger), |events| {
            let (journal, left) = journal(&config.state_dir, events, ledger)?;
            printed = left.printed;
            ledger.lose(Loss::AuditOutputKilled, left.audit_lost);
            Some(journal)
        })?;
        let history = Arc::new(History::open(&config.state_dir));
        let live = Arc::new(Live::new(Arc::clone(&history)));
        metrics.show(Arc::clone(&history), Arc::clone(&live));
        Ok(Self { metrics, printer, printed, history, live, kube_events })
    }

    /// Up to where an agent that was killed had printed, though it could not say so.
    pub fn printed(&self) -> Option<Printed> {
        self.printed
    }

    /// Gives `receipt` back when all that was observed so far is printed.
    pub fn settle(&self, receipt: Option<Receipt>) {
        if let Some(printer) = &self.printer {
            printer.settle(receipt);
        }
    }

    /// Counts `event`, then prints it where that is asked for.
    ///
    /// Never waits for a reader: what cannot be printed at once is counted as lost.
    pub fn observe(&self, event: &Event<'_>) {
        self.metrics.observe(event);
        self.history.observe(event);
        self.live.observe(event);
        if let Some(printer) = &self.printer {
            printer.print(event);
        }
        if let Some(events) = &self.kube_events {
            events.observe(event);
        }
    }

    /// Counts denials without a record, and tells readers of the socket. They are no events, and go nowhere else.
    pub fn observe_unrecorded(&self, unrecorded: &Unrecorded<'_>) {
        self.metrics.observe_unrecorded(unrecorded);
        self.live.observe_unrecorded(unrecorded);
    }

    /// What has been violated so far.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// What readers of the socket are told from.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The numbers.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The Kubernetes Events, unless there shall be none.
    pub fn kube_events(&self) -> Option<&Arc<KubeEvents>> {
        self.kube_events.as_ref()
    }

    /// Is ready when all that was observed is printed. Nothing may be observed any more.
    pub async fn close(&self) {
        if let Some(printer) = &self.printer {
            printer.close().await;
        }
        let history = Arc::clone(&self.history);
        // A panic of the store is logged by the hook, and costs no more than ten seconds of history.
        let _ = tokio::task::spawn_blocking(move || history.write()).await;
    }
}

/// The journal of a file of events, and what it says of the agent before.
fn journal(state_dir: &Path, events: &File, ledger: &Ledger) -> Option<(Journal, Left)> {
    let opened = Journal::open(state_dir, events).and_then(|journal| {
        let left = journal.as_ref().map(|journal| journal.left(events)).transpose()?;
        Ok(journal.zip(left))
    });
    opened.unwrap_or_else(|error| {
        ledger.state_failed(StateFailure::Journal);
        tracing::warn!(%error, "no journal in {}: a kill may have events printed twice", state_dir.display());
        None
    })
}
