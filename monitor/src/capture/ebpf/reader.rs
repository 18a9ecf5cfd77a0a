//! Reading the ring without taking from it.
//!
//! A record stays in the ring until it is released, which is when the event it became has been counted and
//! printed. An agent that dies in between leaves it to the next one. (aya's `RingBuf` releases a record as
//! soon as the next one is read.) The layout is that of kernel/bpf/ringbuf.c: a page with the consumer's
//! position, a page with the producer's, and the data. (The kernel offers the data a second time behind that,
//! so that no record is in pieces.) Pages that are mapped count as the agent's memory from then on, although the
//! kernel has them anyway: so a part of the data is mapped at a time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use aa_monitor_ebpf::KIND_VIOLATION;

use crate::capture::Batch;
use crate::sys::Mapping;

const PAGE: usize = 4096;
/// How much of the data is mapped at a time: next to nothing of the agent's memory, and a storm of a hundred
/// megabytes a second moves it four hundred times.
const WINDOW: usize = 256 << 10;
/// `BPF_RINGBUF_HDR_SZ`: the length and two flags, then the page.
const HEADER: usize = 8;
/// The record is still being written.
const BUSY: u32 = 1 << 31;
/// The record was given up by its writer.
const DISCARD: u32 = 1 << 30;

/// The consumer's position, which only the reader's side moves.
#[derive(Debug)]
pub(super) struct Consumer(Mapping);

impl Consumer {
    /// Gives the room before `position` back to the programs.
    pub(super) fn release(&self, position: usize) {
        self.0.word().store(position, Ordering::Release);
        // A record that is added now either sees the new position, and wakes the reader, or is seen by the
        // reader, who looks again after a release.
        fence(Ordering::SeqCst);
    }

    /// Up to where everything is released.
    pub(super) fn position(&self) -> usize {
        self.0.word().load(Ordering::Acquire)
    }
}

/// What a look at the ring found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record, which is now in the batch.
    Record,
    /// Nothing that is ready.
    Nothing,
    /// What cannot be: the ring says that a record is longer than itself.
    Nonsense,
}

/// The part of the data that is mapped.
#[derive(Debug)]
struct Window {
    ring: OwnedFd,
    /// A power of two, as the ring's size is: windows do not overlap, and together are the ring.
    len: usize,
    start: usize,
    memory: Mapping,
}

impl Window {
    fn open(ring: OwnedFd, len: usize) -> io::Result<Self> {
        let memory = Mapping::new(&ring, 2 * PAGE, len, false)?;
        Ok(Self { ring, len, start: 0, memory })
    }

    /// What is mapped once the byte at `position` of the data is, and where in it that byte is.
    fn at(&mut self, position: usize) -> io::Result<(&Mapping, usize)> {
        let within = position % self.len;
        if position - within != self.start {
            self.memory = Mapping::new(&self.ring, 2 * PAGE + position - within, self.len, false)?;
            self.start = position - within;
        }
        Ok((&self.memory, within))
    }
}

/// Reads records in their order.
#[derive(Debug)]
pub(super) struct Reader {
    consumer: Arc<Consumer>,
    producer: Mapping,
    window: Window,
    size: usize,
    next: usize,
}

impl Reader {
    /// Maps a ring of `size` bytes; reading starts where the last reader's releases ended.
    pub(super) fn new(ring: impl AsFd, size: usize) -> io::Result<Self> {
        Self::with_window(ring, size, WINDOW)
    }

    fn with_window(ring: impl AsFd, size: usize, window: usize) -> io::Result<Self> {
        let consumer = Consumer(Mapping::new(ring.as_fd(), 0, PAGE, true)?);
        let producer = Mapping::new(ring.as_fd(), PAGE, PAGE, false)?;
        let window = Window::open(ring.as_fd().try_clone_to_owned()?, window.min(size))?;
        let next = consumer.position();
        Ok(Self { consumer: Arc::new(consumer), producer, window, size, next })
    }

    /// Who releases what was read.
    pub(super) fn consumer(&self) -> &Arc<Consumer> {
        &self.consumer
    }

    /// Where the next record is read.
    pub(super) fn next_position(&self) -> usize {
        self.next
    }

    /// Skips to `position` if that is between the next record and the newest one.
    pub(super) fn skip_to(&mut self, position: usize) -> bool {
        let inside = position.wrapping_sub(self.next) <= self.newest().wrapping_sub(self.next);
        if inside {
            self.next = position;
        }
        inside
    }

    /// Where the next record will be written.
    pub(super) fn newest(&self) -> usize {
        self.producer.word().load(Ordering::Acquire)
    }

    /// How many bytes are read and not yet released.
    pub(super) fn held(&self) -> usize {
        self.next.wrapping_sub(self.consumer.position())
    }

    /// How many bytes the ring has.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Copies the next record into the batch. Fails when the system has no room for the mapping.
    pub(super) fn read(&mut self, batch: &mut Batch) -> io::Result<Found> {
        while self.next != self.newest() {
            let (memory, at) = self.window.at(self.next % self.size)?;
            let Some(length) = memory.half_word(at) else { return Ok(Found::Nonsense) };
            let length = length.load(Ordering::Acquire);
            if length & BUSY != 0 {
                return Ok(Found::Nothing);
            }
            let bytes = (length & !DISCARD) as usize;
            if bytes > self.size {
                return Ok(Found::Nonsense);
            }
            let discarded = length & DISCARD != 0;
            if !discarded {
                let position = self.next.wrapping_add(HEADER);
                let mut copied = Ok(true);
                batch.push_with(|to| {
                    copied = copy(&mut self.window, self.size, position, bytes, to);
                    matches!(copied, Ok(true))
                });
                if !copied? {
                    return Ok(Found::Nonsense);
                }
            }
            self.next = self.next.wrapping_add((HEADER + bytes).next_multiple_of(HEADER));
            if !discarded {
                // The kind is the third byte of every record.
                if batch.last().get(2) != Some(&KIND_VIOLATION) {
                    batch.mark_aside();
                }
                return Ok(Found::Record);
            }
        }
        Ok(Found::Nothing)
    }
}

/// Appends `bytes` from a position on, window by window, and from the end of the ring on to its start.
fn copy(
    window: &mut Window,
    size: usize,
    mut position: usize,
    mut bytes: usize,
    to: &mut Vec<u8>,
) -> io::Result<bool> {
    while bytes > 0 {
        let len = window.len;
        let (memory, at) = window.at(position % size)?;
        let part = bytes.min(len - at);
        if !memory.copy(at, part, to) {
            return Ok(false);
        }
        position = position.wrapping_add(part);
        bytes -= part;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::time::Instant;

    use super::*;

    /// Of several windows, which are a page in these tests.
    const SIZE: usize = 4 * PAGE;

    /// The kernel's side of a ring, as far as a reader sees it, in an ordinary file.
    struct Ring {
        file: File,
        newest: usize,
    }

    impl Ring {
        fn new() -> Self {
            let file = tempfile::tempfile().unwrap();
            file.set_len((2 * PAGE + SIZE) as u64).unwrap();
            Self { file, newest: 0 }
        }

        fn write(&mut self, bytes: &[u8], flags: u32) {
            let mut record = (bytes.len() as u32 | flags).to_ne_bytes().to_vec();
            record.resize(HEADER, 0);
            record.extend_from_slice(bytes);
            for (i, byte) in record.iter().enumerate() {
                let at = 2 * PAGE + (self.newest + i) % SIZE;
                self.file.write_all_at(&[*byte], at as u64).unwrap();
            }
            self.newest += record.len().next_multiple_of(HEADER);
            self.file.write_all_at(&self.newest.to_ne_bytes(), PAGE as u64).unwrap();
        }

        fn reader(&self) -> Reader {
            Reader::with_window(&self.file, SIZE, PAGE).unwrap()
        }
    }

    fn read_all(reader: &mut Reader) -> (Vec<Vec<u8>>, Found) {
        let mut batch = Batch::new(Instant::now());
        loop {
            match reader.read(&mut batch).unwrap() {
                Found::Record => {}
                end => return (batch.iter().map(<[u8]>::to_vec).collect(), end),
            }
        }
    }

    #[test]
    fn what_is_not_released_is_read_again_by_the_next_reader() {
        let mut ring = Ring::new();
        for record in [&b"one"[..], b"two", b"three"] {
            ring.write(record, 0);
        }
        let mut first = ring.reader();
        let mut batch = Batch::new(Instant::now());
        assert_eq!(first.read(&mut batch).unwrap(), Found::Record);
        let after_one = first.next_position();
        assert_eq!(read_all(&mut first).0, [b"two".to_vec(), b"three".to_vec()]);
        first.consumer().release(after_one);
        assert_eq!(first.held(), 2 * 16);
        assert_eq!(read_all(&mut ring.reader()).0, [b"two".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn stops_at_a_record_that_is_being_written_and_skips_one_that_was_given_up() {
        let mut ring = Ring::new();
        ring.write(b"gone", DISCARD);
        ring.write(b"here", 0);
        ring.write(b"not yet", BUSY);
        ring.write(b"after it", 0);
        let mut reader = ring.reader();
        assert_eq!(read_all(&mut reader), (vec![b"here".to_vec()], Found::Nothing));
    }

    #[test]
    fn goes_round() {
        let mut ring = Ring::new();
        let mut reader = ring.reader();
        // Longer than a window, and never at the same place of one.
        for round in 0..40 {
            let record: Vec<u8> = (0..5000).map(|byte: u32| (byte % 251) as u8 ^ round).collect();
            ring.write(&record, 0);
            assert_eq!(read_all(&mut reader), (vec![record], Found::Nothing), "{round}");
            reader.consumer().release(reader.next_position());
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        let mut ring = Ring::new();
        ring.write(b"x", SIZE as u32 + 1);
        assert_eq!(read_all(&mut ring.reader()).1, Found::Nonsense);
    }

    #[test]
    fn skips_only_what_is_there() {
        let mut ring = Ring::new();
        ring.write(b"one", 0);
        let after_one = ring.newest;
        ring.write(b"two", 0);
        let mut reader = ring.reader();
        assert!(!reader.skip_to(ring.newest + 8), "beyond the newest");
        assert!(reader.skip_to(after_one));
        assert!(!reader.skip_to(0), "back");
        assert_eq!(read_all(&mut reader).0, [b"two".to_vec()]);
    }
}
