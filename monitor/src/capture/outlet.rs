//! The way out of a source: a queue that is bounded by what waits in it, and that never makes the source wait.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, Semaphore};

use super::Batch;
use crate::ledger::{Ledger, Loss};

/// Where a source hands over its batches.
pub struct Outlet {
    queue: Sender<Batch>,
    room: Arc<Semaphore>,
    length: u32,
    look: Arc<Notify>,
    ledger: Arc<Ledger>,
    on_full: Loss,
}

/// The other end.
#[derive(Debug)]
pub struct Inlet {
    batches: Receiver<Batch>,
    look: Arc<Notify>,
}

/// A queue for `length` records; one longer than a KiB takes the place of several, so that the length bounds
/// the memory too. What does not fit is counted as `on_full`.
pub fn outlet(length: usize, ledger: Arc<Ledger>, on_full: Loss) -> (Outlet, Inlet) {
    let length = length.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let (queue, batches) = channel(length);
    let room = Arc::new(Semaphore::new(length));
    let look = Arc::new(Notify::new());
    let outlet = Outlet { queue, room, length: length as u32, look: Arc::clone(&look), ledger, on_full };
    (outlet, Inlet { batches, look })
}

impl Inlet {
    /// The next batch; `None` when the source has ended and all of its batches were taken.
    pub async fn recv(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// Asks the source to look, and to send word when it has nothing more.
    pub fn look(&self) {
        self.look.notify_one();
    }
}

impl Outlet {
    /// Hands a batch over, or drops it and counts its records as lost.
    pub fn deliver(&self, mut batch: Batch) {
        if batch.is_empty() && batch.drained().is_none() {
            return;
        }
        let (asides, records) = (batch.asides(), batch.len() as u64 - batch.asides());
        let places = self.places(&batch);
        let delivered = Arc::clone(&self.room).try_acquire_many_owned(places).is_ok_and(|places| {
            batch.hold(places);
            self.queue.try_send(batch).is_ok()
        });
        if !delivered {
            self.ledger.lose(self.on_full, records);
            self.ledger.identity().missed(asides);
        }
    }

    /// Hands a batch over as soon as it fits: for a source that can leave behind it what does not.
    pub async fn deliver_when_room(&self, mut batch: Batch) {
        if batch.is_empty() && batch.drained().is_none() {
            return;
        }
        let (asides, records) = (batch.asides(), batch.len() as u64 - batch.asides());
        let delivered = match Arc::clone(&self.room).acquire_many_owned(self.places(&batch)).await {
            Ok(places) => {
                batch.hold(places);
                self.queue.send(batch).await.is_ok()
            }
            Err(_closed) => false,
        };
        if !delivered {
            self.ledger.lose(self.on_full, records);
            self.ledger.identity().missed(asides);
        }
    }

    /// Is ready when the other end has asked the source to look.
    pub async fn asked(&self) {
        self.look.notified().await;
    }

    /// A batch that is larger than the queue fits when nothing else is in it.
    fn places(&self, batch: &Batch) -> u32 {
        batch.places().min(self.length)
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
        drop(batches.batches.try_recv());
        outlet.deliver(batch(&[&[0; 2500]]));
        assert_eq!(lost(), 2, "a long one takes three places");
        outlet.deliver(batch(&[b"g"]));
        assert_eq!(lost(), 3);
        drop(batches);
        outlet.deliver(batch(&[b"h"]));
        assert_eq!(lost(), 4, "nobody is there any more");
    }
    #[tokio::test]
    async fn what_can_wait_is_not_lost() {
        let ledger = Arc::new(Ledger::default());
        let (outlet, mut inlet) = outlet(1, Arc::clone(&ledger), Loss::EbpfQueueFull);
        let sending = tokio::spawn(async move {
            for _ in 0..10 {
                outlet.deliver_when_room(batch(&[b"a", b"b", b"c"])).await;
            }
        });
        let mut got = 0;
        while let Some(batch) = inlet.recv().await {
            got += batch.len();
        }
        sending.await.unwrap();
        assert_eq!((got, ledger.lost_total(Loss::EbpfQueueFull)), (30, 0));
    }
}
