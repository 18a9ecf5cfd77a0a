//! A file that grows. It may not be there yet, be renamed and begun anew (logrotate's default), or be cut to
//! nothing in place (`copytruncate`); what was written before is read to its end first.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::PIECE;

/// Reads what a file gains.
pub struct Follower {
    path: PathBuf,
    file: Option<Open>,
    piece: Vec<u8>,
}

struct Open {
    file: File,
    /// Device and inode: whether the path still names this file.
    identity: (u64, u64),
    /// How much is read.
    position: u64,
}

/// What a look at the file found, besides what it gained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The same file, or none.
    No,
    /// Another file has its name, or it was cut: the next byte begins a line.
    Anew,
}

impl Follower {
    /// Follows `path`, from the file's beginning.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, piece: vec![0; PIECE] }
    }

    /// Reads all there is now. A file that is not there is no error; it may come.
    pub fn poll(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Moved> {
        if let Some(open) = &mut self.file {
            open.read(&mut self.piece, &mut each)?;
        }
        let metadata = match self.path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Moved::No),
            other => other?,
        };
        let identity = (metadata.dev(), metadata.ino());
        match &mut self.file {
            Some(open) if open.identity == identity && metadata.len() >= open.position => Ok(Moved::No),
            Some(open) if open.identity == identity => {
                open.position = open.file.seek(SeekFrom::Start(0))?;
                Ok(Moved::Anew)
            }
            Some(open) => {
                // What the writer still put into the old file after it was renamed.
                open.read(&mut self.piece, &mut each)?;
                self.file = None;
                Ok(Moved::Anew)
            }
            None => {
                let mut open = Open { file: File::open(&self.path)?, identity, position: 0 };
                // Of the file that is open now, not of the one that was there a moment ago.
                let metadata = open.file.metadata()?;
                open.identity = (metadata.dev(), metadata.ino());
                open.read(&mut self.piece, &mut each)?;
                self.file = Some(open);
                Ok(Moved::No)
            }
        }
    }
}

impl Open {
    fn read(&mut self, piece: &mut [u8], each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            match self.file.read(piece) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    self.position += length as u64;
                    each(piece.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Polls until nothing new happens.
    fn drain(follower: &mut Follower) -> String {
        let mut text = Vec::new();
        loop {
            let before = text.len();
            let moved = follower.poll(|piece| text.extend_from_slice(piece)).unwrap();
            if moved == Moved::Anew {
                text.push(b'|');
            }
            if moved == Moved::No && text.len() == before {
                return String::from_utf8(text).unwrap();
            }
        }
    }

    #[test]
    fn follows_through_all_that_happens_to_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let append = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        let mut follower = Follower::new(&path);
        assert_eq!(drain(&mut follower), "", "not there yet");
        append("a\nb");
        assert_eq!(drain(&mut follower), "a\nb", "it appears");
        append("c\n");
        assert_eq!(drain(&mut follower), "c\n", "it grows");
        let old = File::options().append(true).open(&path).unwrap();
        fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
        io::Write::write_all(&mut &old, b"d\n").unwrap();
        append("e\n");
        assert_eq!(drain(&mut follower), "d\n|e\n", "renamed while the writer has it open");
        fs::copy(&path, folder.path().join("audit.log.2")).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(drain(&mut follower), "|", "cut in place");
        append("f\n");
        assert_eq!(drain(&mut follower), "f\n", "and written again");
        fs::remove_file(&path).unwrap();
        assert_eq!(drain(&mut follower), "", "gone");
        append("g\n");
        assert_eq!(drain(&mut follower), "|g\n", "and back");
    }
}
