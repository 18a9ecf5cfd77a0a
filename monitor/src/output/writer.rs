//! The thread that prints. A reader that is slow, stopped or gone costs lines, never counts.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, mem, thread};

use tokio::sync::oneshot;

use crate::capture::Source;
use crate::ledger::{Ledger, Loss};

/// How many bytes of lines wait for the reader; the thread holds as many again while it writes.
const PENDING_LIMIT: usize = 4 << 20;

/// The lines that wait to be written, and how many of them are from each source.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    ebpf: u64,
    audit: u64,
}

#[derive(Default)]
struct State {
    pending: Batch,
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

/// A bounded queue of lines before a thread that writes them.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
    limit: usize,
}

impl Writer {
    /// Starts the thread. `what` names `out` in the log.
    pub(super) fn start(out: Box<dyn Write + Send>, what: String, ledger: Arc<Ledger>) -> io::Result<Self> {
        Self::with_limit(out, what, ledger, PENDING_LIMIT)
    }

    fn with_limit(
        out: Box<dyn Write + Send>,
        what: String,
        ledger: Arc<Ledger>,
        limit: usize,
    ) -> io::Result<Self> {
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
    pub(super) fn print(&self, source: Source, format: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let mut state = self.shared.state();
        if state.broken || state.closing {
            self.ledger.lose(failed(source), 1);
            return;
        }
        let batch = &mut state.pending;
        let start = batch.text.len();
        // A line longer than all that is left makes room by not being there.
        if start >= self.limit || format(&mut batch.text).is_err() || batch.text.len() > self.limit {
            batch.text.truncate(start);
            self.ledger.lose(queue_full(source), 1);
            return;
        }
        match source {
            Source::Ebpf => batch.ebpf += 1,
            Source::Audit => batch.audit += 1,
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Takes no more lines, and is ready when those taken are written.
    pub(super) async fn close(&self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_one();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            // An error says that the thread is gone, which is what we wait for.
            let _ = done.await;
        }
    }
}

fn drain(shared: &Shared, mut out: Box<dyn Write + Send>, what: &str, ledger: &Ledger) {
    let mut batch = Batch::default();
    loop {
        {
            let mut state = shared.state();
            while state.pending.text.is_empty() && !state.closing {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.pending.text.is_empty() {
                return;
            }
            mem::swap(&mut batch, &mut state.pending);
        }
        if let Err(error) = out.write_all(&batch.text).and_then(|()| out.flush()) {
            tracing::warn!(%error, "cannot write to {what}: events are counted and no longer printed");
            let mut state = shared.state();
            state.broken = true;
            let rest = mem::take(&mut state.pending);
            ledger.lose(failed(Source::Ebpf), batch.ebpf + rest.ebpf);
            ledger.lose(failed(Source::Audit), batch.audit + rest.audit);
            return;
        }
        batch.text.clear();
        (batch.ebpf, batch.audit) = (0, 0);
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
