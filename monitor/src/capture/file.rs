//! Log files: opened whatever they are packed in, and followed while they grow and are rotated.

mod follow;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, stdin};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

pub use self::follow::{Follower, Moved};

/// How much is read at once: what fits into a core's own cache.
pub const PIECE: usize = 256 << 10;

/// How a gzip file begins (RFC 1952, 2.3.1), whatever its name.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Opens a file, or standard input for `-`.
pub fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return unpacked(BufReader::with_capacity(PIECE, stdin()));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    unpacked(BufReader::with_capacity(PIECE, file))
}

/// Reads through gzip when the input begins like it. Rotated logs may be several members in one file.
fn unpacked(mut input: impl BufRead + 'static) -> io::Result<Box<dyn Read>> {
    Ok(if input.fill_buf()?.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(input))
    } else {
        Box::new(input)
    })
}

/// Reads a piece at a time, until the end or until `each` has enough and says false.
pub fn read_to_end(input: &mut dyn Read, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) if each(piece.get(..length).unwrap_or_default()) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_plain_and_packed_alike() {
        for (name, bytes, want) in [
            ("plain", b"one\ntwo\n".to_vec(), "one\ntwo\n"),
            ("gzip", gzip(b"one\ntwo\n"), "one\ntwo\n"),
            ("two members", [gzip(b"one\n"), gzip(b"two\n")].concat(), "one\ntwo\n"),
            ("empty", Vec::new(), ""),
            ("a single byte of gzip's magic", vec![0x1f], "\u{1f}"),
        ] {
            let mut text = Vec::new();
            let mut input = unpacked(BufReader::new(Cursor::new(bytes))).unwrap();
            read_to_end(&mut input, |piece| {
                text.extend_from_slice(piece);
                true
            })
            .unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let mut bytes = gzip(&[b'x'; 1000]);
        bytes.truncate(bytes.len() - 10);
        let mut input = unpacked(BufReader::new(Cursor::new(bytes))).unwrap();
        assert!(read_to_end(&mut input, |_| true).is_err());
    }
}
