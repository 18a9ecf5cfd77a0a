//! What is on its way through the agent: a source may forget a record only when its event has been counted
//! and printed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Called with the position up to which everything is done with.
type Release = Box<dyn Fn(usize) + Send + Sync>;

/// The batches of one source that are under way, in the order in which they were handed out.
pub(super) struct Receipts(Mutex<State>, Release);

#[derive(Default)]
struct State {
    first: u64,
    /// Where each batch ends, and whether it is done with.
    batches: VecDeque<(usize, bool)>,
}

impl Receipts {
    /// `release` gets each position up to which all is done with, in order.
    pub(super) fn new(release: impl Fn(usize) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::default(), Box::new(release)))
    }

    /// A receipt for the batch that ends at `position`; batches are handed out in order.
    pub(super) fn issue(self: &Arc<Self>, ring: u32, position: usize) -> Receipt {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.first + state.batches.len() as u64;
        state.batches.push_back((position, false));
        Receipt { from: Arc::clone(self), number, ring, position }
    }

    /// How many batches are under way.
    pub(super) fn open(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).batches.len()
    }

    /// Takes the oldest batch for done with, though it is not; false when there is none.
    pub(super) fn release_oldest(&self) -> bool {
        let oldest = {
            let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (!state.batches.is_empty()).then_some(state.first)
        };
        if let Some(number) = oldest {
            self.done(number);
        }
        oldest.is_some()
    }

    /// The release is called under the lock: positions must not overtake each other.
    fn done(&self, number: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(number.wrapping_sub(state.first)).unwrap_or(usize::MAX);
        if let Some((_, done)) = state.batches.get_mut(index) {
            *done = true;
        }
        let mut last = None;
        while let Some((position, _)) = state.batches.pop_front_if(|(_, done)| *done) {
            state.first += 1;
            last = Some(position);
        }
        if let Some(position) = last {
            (self.1)(position);
        }
    }
}

/// Held by whatever still has to do with a batch; dropping it says that all of it is counted and printed, or
/// booked as lost.
pub struct Receipt {
    from: Arc<Receipts>,
    number: u64,
    ring: u32,
    position: usize,
}

impl Receipt {
    /// Which ring the batch is from: the kernel's id of the map.
    pub fn ring(&self) -> u32 {
        self.ring
    }

    /// Where in the ring the batch ends.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.from.done(self.number);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from: _, number, ring, position } = self;
        f.debug_struct("Receipt")
            .field("number", number)
            .field("ring", ring)
            .field("position", position)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_in_order_whatever_order_batches_are_done_in() {
        let released = Arc::new(Mutex::new(Vec::new()));
        let receipts = Receipts::new({
            let released = Arc::clone(&released);
            move |position| released.lock().unwrap().push(position)
        });
        let issued = [10, 20, 30, 40].map(|position| receipts.issue(1, position));
        let [a, b, c, d] = issued;
        drop(b);
        assert_eq!(*released.lock().unwrap(), [0; 0], "the first is still under way");
        drop(a);
        assert_eq!(*released.lock().unwrap(), [20]);
        drop(d);
        drop(c);
        assert_eq!(*released.lock().unwrap(), [20, 40]);
        assert_eq!(receipts.open(), 0);
        drop(receipts.issue(1, 50));
        assert_eq!(*released.lock().unwrap(), [20, 40, 50]);
    }
}
