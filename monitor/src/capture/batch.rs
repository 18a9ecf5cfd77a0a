//! What a source hands to the pipeline: a handful of raw records in one allocation.

use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

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
}

impl Batch {
    /// The most records that one batch holds: small enough that a waiting batch is never an old one.
    const RECORDS: usize = 256;
    /// The most bytes, unless a single record is larger.
    const BYTES: usize = 256 * 1024;

    /// An empty batch.
    pub fn new(received: Instant) -> Self {
        Self { received, bytes: Vec::new(), ends: Vec::new(), asides: 0, places: None }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) {
        self.push_parts(&[record]);
    }

    /// Appends a record that is no violation, but has its place among them: a cgroup that was made or removed.
    pub fn push_aside(&mut self, record: &[u8]) {
        self.push(record);
        self.asides += 1;
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
