//! A watch's bytes into its lines.

/// Longer than any object that etcd stores (1.5 MiB), as JSON.
const LINE_LIMIT: usize = 8 << 20;

/// A line that cannot be an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of a watch is longer than {LINE_LIMIT} bytes")]
pub(super) struct TooLong;

/// What has come of a line so far.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Calls `line` for each line that ends in `bytes`. What is cut off at the end of a stream is never told.
    pub(super) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (head, tail) = rest.split_at(end);
            rest = tail.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                line(head);
            } else {
                self.extend(head)?;
                line(&self.partial);
                // An object of a megabyte is no reason to keep one.
                self.partial = Vec::new();
            }
        }
        self.extend(rest)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.partial.len() + bytes.len() > LINE_LIMIT {
            return Err(TooLong);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        for size in 1..=12 {
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for piece in b"{1}\n\n{22}\n{333}\n{cut".chunks(size) {
                lines.feed(piece, |line| got.push(line.to_vec())).expect("short");
            }
            assert_eq!(got, [&b"{1}"[..], b"", b"{22}", b"{333}"], "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LINE_LIMIT / 2];
        assert_eq!(lines.feed(&piece, |_| ()), Ok(()));
        assert_eq!(lines.feed(&piece, |_| ()), Ok(()));
        assert_eq!(lines.feed(b"x", |_| ()), Err(TooLong));
    }
}
