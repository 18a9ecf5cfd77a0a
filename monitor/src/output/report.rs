//! The events of a log, in the format that was asked for.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;

use super::json;
use super::metrics::Metrics;
use super::summary::Summary;
use super::table::Table;
use crate::ledger::Ledger;
use crate::merge::Event;

/// Text is written when so much of it has come together.
const WRITE_AT: usize = 64 << 10;

/// How the events of a log are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Unique violations by count
    Summary,
    /// A line for each event
    Table,
    /// A JSON object a line for each event
    Json,
    /// Counters as Prometheus reads them
    Prom,
}

/// A report in the making.
pub struct Report {
    kind: Kind,
    out: Box<dyn Write>,
    text: Vec<u8>,
    colour: bool,
    width: Option<usize>,
}

enum Kind {
    Summary(Box<Summary>),
    Table(Box<Table>),
    Json,
    Prom(Box<Metrics>),
}

impl Report {
    /// To `out`, which is a terminal of `width` cells or no terminal.
    pub fn new(
        format: ReportFormat,
        out: Box<dyn Write>,
        width: Option<usize>,
        colour: bool,
        series_limit: usize,
    ) -> anyhow::Result<Self> {
        let kind = match format {
            ReportFormat::Summary => Kind::Summary(Box::default()),
            ReportFormat::Table => Kind::Table(Box::new(Table::new(width.is_some(), colour))),
            ReportFormat::Json => Kind::Json,
            ReportFormat::Prom => {
                let metrics = Metrics::new(Arc::<Ledger>::default(), series_limit);
                Kind::Prom(Box::new(metrics.context("cannot set up the metrics")?))
            }
        };
        Ok(Self { kind, out, text: Vec::with_capacity(2 * WRITE_AT), colour, width })
    }

    /// Takes an event.
    pub fn observe(&mut self, event: &Event<'_>) -> io::Result<()> {
        match &mut self.kind {
            Kind::Summary(summary) => summary.observe(event),
            Kind::Table(table) => table.write_line(&mut self.text, event, self.width)?,
            Kind::Json => json::write_line(&mut self.text, event)?,
            Kind::Prom(metrics) => metrics.observe(event),
        }
        if self.text.len() >= WRITE_AT { self.flush() } else { Ok(()) }
    }

    /// Writes what has come together.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.text)?;
        self.text.clear();
        self.out.flush()
    }

    /// Writes what can be told only at the end.
    pub fn finish(mut self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Summary(summary) => summary.write(&mut self.text, self.colour, self.width),
            Kind::Prom(metrics) => self.text.extend_from_slice(metrics.encode_events()?.as_bytes()),
            Kind::Table(_) | Kind::Json => {}
        }
        Ok(self.flush()?)
    }
}
