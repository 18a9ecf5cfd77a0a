//! The world: what becomes of an event that is counted once.

mod detail;
mod escape;
pub mod http;
mod json;
pub mod kube_events;
pub mod metrics;
mod printer;
mod report;
mod summary;
mod table;
mod writer;

use std::sync::Arc;

use anyhow::Context;

use self::metrics::Metrics;
use self::printer::Printer;
pub use self::report::{Report, ReportFormat};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::merge::Event;

/// Everywhere an event goes. Shared by the stages before and by the HTTP server.
pub struct Outputs {
    metrics: Arc<Metrics>,
    printer: Option<Printer>,
}

impl Outputs {
    /// Opens what `config` asks for.
    pub fn new(config: &Config, ledger: &Arc<Ledger>) -> anyhow::Result<Self> {
        let metrics =
            Metrics::new(Arc::clone(ledger), config.series_limit).context("cannot set up the metrics")?;
        Ok(Self { metrics: Arc::new(metrics), printer: Printer::start(config, Arc::clone(ledger))? })
    }

    /// Counts `event`, then prints it where that is asked for.
    ///
    /// Never waits for a reader: what cannot be printed at once is counted as lost.
    pub fn observe(&self, event: &Event<'_>) {
        self.metrics.observe(event);
        if let Some(printer) = &self.printer {
            printer.print(event);
        }
    }

    /// The numbers.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Is ready when all that was observed is printed. Nothing may be observed any more.
    pub async fn close(&self) {
        if let Some(printer) = &self.printer {
            printer.close().await;
        }
    }
}
