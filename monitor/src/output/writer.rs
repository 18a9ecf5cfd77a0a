//! The thread that prints. A reader that is slow, stopped or gone costs lines, never counts.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, mem, thread};

use tokio::sync::oneshot;

use crate::capture::{Receipt, Source};
use crate::ledger::{Ledger, Loss};

/// How many bytes of lines wait for the reader; the thread holds as many again while it writes.
const PENDING_LIMIT: usize = 2 << 20;

/// Lines that wait to be written, and how many of them are from each source.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    ebpf: u64,
    audit: u64,
}

impl Lines {
    fn append(&mut self, other: &mut Self) {
        self.text.append(&mut other.text);
        self.ebpf += mem::take(&mut other.ebpf);
        self.audit += mem::take(&mut other.audit);
    }

    fn clear(&mut self) {
        self.text.clear();
        (self.ebpf, self.audit) = (0, 0);
    }
}

#[derive(Default)]
struct State {
    /// Of the batch that is being told.
    open: Lines,
    /// Of batches that have been told to their end.
    pending: Lines,
    /// Of the same batches: given back when their lines are written.
    receipts: Vec<Receipt>,
    closing: bool,
    /// The last write failed: nobody reads any more.
    broken: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where lines go.
pub(super) trait Out: Send {
    /// Writes all of `text`. `audit` of its lines are not from the ring; `upto` is the receipt of the latest
    /// batch, if its lines are from a ring.
    fn write(&mut self, text: &[u8], audit: u64, upto: Option<&Receipt>) -> io::Result<()>;
}

impl<W: Write + Send> Out for W {
    fn write(&mut self, text: &[u8], _audit: u64, _upto: Option<&Receipt>) -> io::Result<()> {
        self.write_all(text)?;
        self.flush()
    }
}

/// A bounded queue of lines before a thread that writes them.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
    limit: usize,
}

impl Writer {
    /// Starts the thread. `what` names `out` in the log.
    pub(super) fn start(out: Box<dyn Out>, what: String, ledger: Arc<Ledger>) -> io::Result<Self> {
        Self::with_limit(out, what, ledger, PENDING_LIMIT)
    }

    fn with_limit(out: Box<dyn Out>, what: String, ledger: Arc<Ledger>, limit: usize) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (finished, done) = oneshot::channel();
        thread::Builder::new().name("print".into()).spawn({
            let (shared, ledger) = (Arc::clone(&shared), Arc::clone(&ledger));
            move || {
                drain(&shared, out, &what, &ledger);
                // Nobody may be waiting.
                let _ = finished.send(());
            }
        })?;
        Ok(Self { shared, ledger, done: Mutex::new(Some(done)), limit })
    }

    /// Takes the line that `format` appends, seen first by `source`; or counts it as lost when too many wait.
    /// It is written when its batch is told to the end, see [`Self::settle`].
    pub(super) fn print(&self, source: Source, format: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let mut state = self.shared.state();
        if state.broken || state.closing {
            self.ledger.lose(failed(source), 1);
            return;
        }
        let State { open, pending, .. } = &mut *state;
        let start = open.text.len();
        let limit = self.limit.saturating_sub(pending.text.len());
        // A line longer than all that is left makes room by not being there.
        if start >= limit || format(&mut open.text).is_err() || open.text.len() > limit {
            open.text.truncate(start);
            self.ledger.lose(queue_full(source), 1);
            return;
        }
        match source {
            Source::Ebpf => open.ebpf += 1,
            Source::Audit => open.audit += 1,
        }
    }

    /// Has the lines so far written, and `receipt` given back after that.
    pub(super) fn settle(&self, receipt: Option<Receipt>) {
        let mut state = self.shared.state();
        if receipt.is_none() && state.open.text.is_empty() {
            return;
        }
        if state.broken {
            return;
        }
        let State { open, pending, receipts, .. } = &mut *state;
        pending.append(open);
        receipts.extend(receipt);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Takes no more lines, and is ready when those taken are written.
    pub(super) async fn close(&self) {
        self.settle(None);
        self.shared.state().closing = true;
        self.shared.changed.notify_one();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            // An error says that the thread is gone, which is what we wait for.
            let _ = done.await;
        }
    }
}

fn drain(shared: &Shared, mut out: Box<dyn Out>, what: &str, ledger: &Ledger) {
    let mut lines = Lines::default();
    loop {
        let receipts = {
            let mut state = shared.state();
            while state.pending.text.is_empty() && state.receipts.is_empty() && !state.closing {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.pending.text.is_empty() && state.receipts.is_empty() {
                return;
            }
            mem::swap(&mut lines, &mut state.pending);
            mem::take(&mut state.receipts)
        };
        if !lines.text.is_empty()
            && let Err(error) = out.write(&lines.text, lines.audit, receipts.last())
        {
            tracing::warn!(%error, "cannot write to {what}: events are counted and no longer printed");
            let mut state = shared.state();
            state.broken = true;
            let State { open, pending, receipts, .. } = &mut *state;
            lines.append(pending);
            lines.append(open);
            receipts.clear();
            ledger.lose(failed(Source::Ebpf), lines.ebpf);
            ledger.lose(failed(Source::Audit), lines.audit);
            return;
        }
        lines.clear();
        drop(receipts);
    }
}

const fn queue_full(source: Source) -> Loss {
    match source {
        Source::Ebpf => Loss::EbpfOutputFull,
        Source::Audit => Loss::AuditOutputFull,
    }
}

const fn failed(source: Source) -> Loss {
    match source {
        Source::Ebpf => Loss::EbpfOutputFailed,
        Source::Audit => Loss::AuditOutputFailed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes nothing until it is let, and tells what it got.
    struct Gate {
        open: mpsc::Receiver<()>,
        got: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.got.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gated {
        writer: Writer,
        ledger: Arc<Ledger>,
        opener: mpsc::Sender<()>,
        got: Arc<Mutex<Vec<u8>>>,
    }

    fn gated(limit: usize) -> Gated {
        let (opener, open) = mpsc::channel();
        let got = Arc::default();
        let ledger = Arc::new(Ledger::default());
        let gate = Box::new(Gate { open, got: Arc::clone(&got) });
        let writer = Writer::with_limit(gate, "a test".into(), Arc::clone(&ledger), limit).unwrap();
        Gated { writer, ledger, opener, got }
    }

    fn print(writer: &Writer, source: Source, line: &str) {
        writer.print(source, |out| out.write_all(line.as_bytes()));
        writer.settle(None);
    }

    #[tokio::test]
    async fn lines_come_out_whole_and_in_order_before_close_ends() {
        let Gated { writer, ledger, opener, got } = gated(1 << 20);
        for _ in 0..100 {
            opener.send(()).unwrap();
        }
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\n")).collect();
        for line in &lines {
            print(&writer, Source::Ebpf, line);
        }
        writer.close().await;
        assert_eq!(String::from_utf8(got.lock().unwrap().clone()).unwrap(), lines.concat());
        assert!(Loss::ALL.into_iter().all(|loss| ledger.lost_total(loss) == 0));
    }

    #[tokio::test]
    async fn a_stopped_reader_costs_lines_and_each_is_counted() {
        let Gated { writer, ledger, opener, got } = gated(10);
        for _ in 0..100 {
            print(&writer, Source::Audit, "12345\n");
        }
        let lost = ledger.lost_total(Loss::AuditOutputFull);
        assert!(lost >= 98, "one line is with the reader, one waits: {lost}");
        for _ in 0..100 {
            opener.send(()).unwrap();
        }
        writer.close().await;
        print(&writer, Source::Audit, "late\n");
        assert_eq!(ledger.lost_total(Loss::AuditOutputFailed), 1, "after the last line");
        let written = got.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(written as u64 + lost, 100);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_costs_all_lines_and_each_is_counted() {
        let Gated { writer, ledger, opener, got } = gated(1 << 20);
        drop(opener);
        for _ in 0..10 {
            print(&writer, Source::Ebpf, "x\n");
        }
        writer.close().await;
        print(&writer, Source::Audit, "x\n");
        assert_eq!(ledger.lost_total(Loss::EbpfOutputFailed), 10);
        assert_eq!(ledger.lost_total(Loss::AuditOutputFailed), 1);
        assert!(got.lock().unwrap().is_empty());
    }
}
