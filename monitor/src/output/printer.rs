//! Printed events: which format, and where to.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::json;
use super::table::Table;
use super::writer::{Out, Writer};
use crate::capture::{Receipt, Source};
use crate::config::{Config, OutputFormat};
use crate::ledger::{Ledger, StateFailure};
use crate::logging::colour_wanted;
use crate::merge::Event;
use crate::record::Origin;
use crate::state::{Entry, Journal};

/// Events name files, commands and addresses of everybody's: not for everybody to read.
const FILE_MODE: u32 = 0o640;

/// Prints each event as a line.
pub(super) struct Printer {
    format: Format,
    writer: Writer,
}

enum Format {
    Json,
    Table { table: Box<Mutex<Table>>, terminal: bool },
}

impl Printer {
    /// Opens what `config` names; `None` when nothing is to be printed. `journal` is kept of a file that is
    /// printed to.
    pub(super) fn start(
        config: &Config,
        ledger: Arc<Ledger>,
        journal: impl FnOnce(&File) -> Option<Journal>,
    ) -> anyhow::Result<Option<Self>> {
        let terminal = config.output_file.is_none() && stdout().is_terminal();
        let format = match config.output {
            OutputFormat::None => return Ok(None),
            OutputFormat::Json => Format::Json,
            OutputFormat::Table => {
                let table = Table::new(terminal, terminal && colour_wanted());
                Format::Table { table: Box::new(Mutex::new(table)), terminal }
            }
        };
        let (out, what): (Box<dyn Out>, _) = match &config.output_file {
            Some(path) => {
                let file = append_to(path)?;
                let journal = journal(&file);
                let ledger = Arc::clone(&ledger);
                (Box::new(Journalled { file, journal, position: None, ledger }), path.display().to_string())
            }
            None => (Box::new(stdout()), "standard output".to_owned()),
        };
        let writer =
            Writer::start(out, what, ledger).context("cannot start the thread that prints events")?;
        Ok(Some(Self { format, writer }))
    }

    pub(super) fn print(&self, event: &Event<'_>) {
        self.writer.print(told_by(event), |line| match &self.format {
            Format::Json => json::write_line(line, event),
            Format::Table { table, terminal } => {
                let width = terminal.then(terminal_width).flatten();
                table.lock().unwrap_or_else(PoisonError::into_inner).write_line(line, event, width)
            }
        });
    }

    /// Has `receipt` given back when what was printed so far is written.
    pub(super) fn settle(&self, receipt: Option<Receipt>) {
        self.writer.settle(receipt);
    }

    pub(super) async fn close(&self) {
        self.writer.close().await;
    }
}

/// A file of events, and the journal of what is about to be added to it.
struct Journalled {
    file: File,
    journal: Option<Journal>,
    /// The ring and the position that the last lines from a ring went up to.
    position: Option<(u32, usize)>,
    ledger: Arc<Ledger>,
}

impl Out for Journalled {
    fn write(&mut self, text: &[u8], audit: u64, upto: Option<&Receipt>) -> io::Result<()> {
        self.position = upto.map(|receipt| (receipt.ring(), receipt.position())).or(self.position);
        if let Some(journal) = &self.journal {
            let (ring, position) = self.position.unwrap_or_default();
            let entry = Entry {
                ring,
                position,
                length: self.file.metadata()?.len(),
                bytes: text.len() as u64,
                audit,
            };
            if let Err(error) = journal.note(entry) {
                self.ledger.state_failed(StateFailure::Journal);
                tracing::warn!(%error, "cannot note what is printed: a kill may have events printed twice");
                self.journal = None;
            }
        }
        self.file.write_all(text)
    }
}

/// The source whose record the event was made from: the loss of its line is booked there.
const fn told_by(event: &Event<'_>) -> Source {
    match event.violation.origin {
        Origin::Ebpf => Source::Ebpf,
        Origin::Netlink | Origin::Kmsg | Origin::File => Source::Audit,
    }
}

/// Appending, each batch in one write, is what lets logrotate's `copytruncate` work.
fn append_to(path: &Path) -> anyhow::Result<File> {
    open(path).with_context(|| {
        format!("cannot write events to {}; name another file with --output-file", path.display())
    })
}

/// Opens without waiting, because a pipe that nobody reads would hold up the whole agent; then makes writes
/// wait again, which is the printing thread's business.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let flags = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(stdout()).map(|(width, _)| usize::from(width.0))
}
