//! What a source hands to the pipeline: a handful of raw records in one allocation.

use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::receipts::Receipt;

/// Raw records of one source, in the order of arrival.
#[derive(Debug)]
pub struct Batch {
    /// When the first of them was taken from the kernel.
    pub received: Instant,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How many of the records are no violations.
    asides: u64,
    /// Its room in the queue, given back when the batch is dropped.
    places: Option<OwnedSemaphorePermit>,
    receipt: Option<Receipt>,
    drained: Option<Instant>,
}

impl Batch {
    /// The most records that one batch holds: small enough that a waiting batch is never an old one.
    const RECORDS: usize = 256;
    /// The most bytes, unless a single record is larger.
    const BYTES: usize = 256 * 1024;

    /// An empty batch.
    pub fn new(received: Instant) -> Self {
        Self {
            received,
            bytes: Vec::new(),
            ends: Vec::new(),
            asides: 0,
            places: None,
            receipt: None,
            drained: None,
        }
    }

    /// A batch of nothing but word that the source had nothing more at this time.
    pub fn marker(drained: Instant) -> Self {
        Self { drained: Some(drained), ..Self::new(drained) }
    }

    /// Says that the source had nothing more when it was looked at after this time.
    pub(super) fn mark_drained(&mut self, at: Instant) {
        self.drained = Some(at);
    }

    /// When the source had nothing more behind these records, if it had not.
    pub fn drained(&self) -> Option<Instant> {
        self.drained
    }

    /// Has the batch carry the receipt that the source wants back.
    pub(super) fn carry(&mut self, receipt: Receipt) {
        self.receipt = Some(receipt);
    }

    /// Takes the receipt out; dropping it tells the source that all is done with.
    pub fn take_receipt(&mut self) -> Option<Receipt> {
        self.receipt.take()
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) {
        self.push_parts(&[record]);
    }

    /// Says that the latest record is no violation, but has its place among them: a cgroup that was made or
    /// removed.
    pub(super) fn mark_aside(&mut self) {
        self.asides += 1;
    }

    /// The latest record.
    pub(super) fn last(&self) -> &[u8] {
        let start = self.ends.len().checked_sub(2).and_then(|at| self.ends.get(at)).copied().unwrap_or(0);
        self.bytes.get(start..).unwrap_or_default()
    }

    /// How many of its records are no violations.
    pub fn asides(&self) -> u64 {
        self.asides
    }

    /// Appends a record that is in pieces.
    pub fn push_parts(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// Appends the record that `write` appends; false, and nothing, when it cannot.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        if written {
            self.ends.push(self.bytes.len());
        } else {
            self.bytes.truncate(start);
        }
        written
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether it should be handed over before more is added.
    pub fn is_full(&self) -> bool {
        self.len() >= Self::RECORDS || self.bytes.len() >= Self::BYTES
    }

    /// How many places it takes in a queue: one for each record, and for each KiB of a longer one.
    pub(super) fn places(&self) -> u32 {
        let places: usize = self.iter().map(|record| record.len().div_ceil(1024).max(1)).sum();
        u32::try_from(places).unwrap_or(u32::MAX)
    }

    /// Keeps its places for as long as it lives.
    pub(super) fn hold(&mut self, places: OwnedSemaphorePermit) {
        self.places = Some(places);
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let record = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            record
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_was_given() {
        let mut batch = Batch::new(Instant::now());
        assert!(batch.is_empty());
        for record in [&b"one"[..], b"", b"three"] {
            batch.push(record);
        }
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn is_full_by_count_or_by_size() {
        let mut batch = Batch::new(Instant::now());
        for _ in 0..Batch::RECORDS {
            assert!(!batch.is_full());
            batch.push(b"x");
        }
        assert!(batch.is_full());
        let mut batch = Batch::new(Instant::now());
        batch.push(&vec![0; Batch::BYTES]);
        assert!(batch.is_full());
    }
}
