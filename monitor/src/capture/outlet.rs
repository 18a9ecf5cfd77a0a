//! The way out of a source: a queue that is bounded by what waits in it, and that never makes the source wait.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Batch;
use crate::ledger::{Ledger, Loss};

/// Where a source hands over its batches.
pub struct Outlet {
    queue: Sender<Batch>,
    room: Arc<Semaphore>,
    ledger: Arc<Ledger>,
    on_full: Loss,
}

/// A queue for `length` records; one longer than a KiB takes the place of several, so that the length bounds
/// the memory too. What does not fit is counted as `on_full`.
pub fn outlet(length: usize, ledger: Arc<Ledger>, on_full: Loss) -> (Outlet, Receiver<Batch>) {
    let (queue, batches) = channel(length.clamp(1, Semaphore::MAX_PERMITS));
    let room = Arc::new(Semaphore::new(length.clamp(1, Semaphore::MAX_PERMITS)));
    (Outlet { queue, room, ledger, on_full }, batches)
}

impl Outlet {
    /// Hands a batch over, or drops it and counts its records as lost.
    pub fn deliver(&self, mut batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let (asides, records) = (batch.asides(), batch.len() as u64 - batch.asides());
        let delivered = Arc::clone(&self.room).try_acquire_many_owned(batch.places()).is_ok_and(|places| {
            batch.hold(places);
            self.queue.try_send(batch).is_ok()
        });
        if !delivered {
            self.ledger.lose(self.on_full, records);
            self.ledger.identity().missed(asides);
        }
    }

    /// The books, for what else a source has to note.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn batch(records: &[&[u8]]) -> Batch {
        let mut batch = Batch::new(Instant::now());
        for record in records {
            batch.push(record);
        }
        batch
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let ledger = Arc::new(Ledger::default());
        let lost = || ledger.lost_total(Loss::EbpfQueueFull);
        let (outlet, mut batches) = outlet(4, Arc::clone(&ledger), Loss::EbpfQueueFull);
        outlet.deliver(batch(&[b"a", b"b", b"c"]));
        outlet.deliver(batch(&[b"d", b"e"]));
        assert_eq!(lost(), 2, "five do not fit where four do");
        outlet.deliver(batch(&[b"f"]));
        assert_eq!(lost(), 2, "one does");
        drop(batches.try_recv());
        outlet.deliver(batch(&[&[0; 2500]]));
        assert_eq!(lost(), 2, "a long one takes three places");
        outlet.deliver(batch(&[b"g"]));
        assert_eq!(lost(), 3);
        drop(batches);
        outlet.deliver(batch(&[b"h"]));
        assert_eq!(lost(), 4, "nobody is there any more");
    }
}
