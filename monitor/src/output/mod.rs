//! The world: what becomes of an event that is counted once.

mod detail;
pub(crate) mod escape;
pub mod http;
mod json;
pub mod kube_events;
pub mod metrics;
pub mod node_labels;
mod printer;
mod report;
mod summary;
mod table;
mod writer;

use std::sync::Arc;

use anyhow::Context;

use self::kube_events::{KubeEvents, KubeEventsChoice};
use self::metrics::Metrics;
use self::printer::Printer;
pub use self::report::{Report, ReportFormat};
use crate::config::Config;
use crate::identity::pods::client;
use crate::ledger::Ledger;
use crate::merge::Event;

/// Everywhere an event goes. Shared by the stages before and by the HTTP server.
pub struct Outputs {
    metrics: Arc<Metrics>,
    printer: Option<Printer>,
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
        Ok(Self { metrics, printer: Printer::start(config, Arc::clone(ledger))?, kube_events })
    }

    /// Counts `event`, then prints it where that is asked for.
    ///
    /// Never waits for a reader: what cannot be printed at once is counted as lost.
    pub fn observe(&self, event: &Event<'_>) {
        self.metrics.observe(event);
        if let Some(printer) = &self.printer {
            printer.print(event);
        }
        if let Some(events) = &self.kube_events {
            events.observe(event);
        }
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
    }
}
