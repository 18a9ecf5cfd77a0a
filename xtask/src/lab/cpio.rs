//! Writing an initramfs: the `newc` form of cpio (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::io::{self, Write};

/// What a path in the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A folder.
    Folder,
    /// A file with these permissions.
    File { mode: u32, content: Vec<u8> },
    /// A symbolic link to this target.
    Link(String),
    /// A character device.
    Device { major: u32, minor: u32 },
}

/// An archive in the making. Owner of everything is root; times are zero, so that equal input makes equal
/// bytes.
#[derive(Debug, Default)]
pub(crate) struct Archive(BTreeMap<String, Node>);

impl Archive {
    /// Puts a node at a path without a leading slash, and the folders above it where they are missing.
    pub(crate) fn put(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Folder);
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Writes the archive. A folder sorts before what it holds, which is the order the kernel needs.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (number, (path, node)) in (1_u32..).zip(&self.0) {
            let (mode, content, device): (u32, &[u8], (u32, u32)) = match node {
                Node::Folder => (0o040_755, &[], (0, 0)),
                Node::File { mode, content } => (0o100_000 | mode, content, (0, 0)),
                Node::Link(target) => (0o120_777, target.as_bytes(), (0, 0)),
                Node::Device { major, minor } => (0o020_600, &[], (*major, *minor)),
            };
            entry(out, number, path, mode, content, device)?;
        }
        entry(out, 0, "TRAILER!!!", 0, &[], (0, 0))
    }
}

fn entry(
    out: &mut impl Write,
    number: u32,
    path: &str,
    mode: u32,
    content: &[u8],
    (major, minor): (u32, u32),
) -> io::Result<()> {
    let too_large = |_| io::Error::other(format!("{path} is too large for a cpio archive"));
    let size = u32::try_from(content.len()).map_err(too_large)?;
    let name_size = u32::try_from(path.len() + 1).map_err(too_large)?;
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    // inode, mode, uid, gid, links, time, size, device of the file system (2), device (2), name, checksum
    let fields = [number, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
    let mut header = String::from("070701");
    for field in fields {
        header.push_str(&format!("{field:08X}"));
    }
    out.write_all(header.as_bytes())?;
    out.write_all(path.as_bytes())?;
    out.write_all(&[0])?;
    pad(out, header.len() + path.len() + 1)?;
    out.write_all(content)?;
    pad(out, content.len())
}

/// Names and contents end at a multiple of four.
fn pad(out: &mut impl Write, length: usize) -> io::Result<()> {
    out.write_all([0; 3].get(..length.next_multiple_of(4) - length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::{Archive, Node};

    fn sample() -> Archive {
        let mut archive = Archive::default();
        for length in 0..5 {
            let content = vec![b'x'; length];
            archive.put(&format!("data/{}", "n".repeat(length + 1)), Node::File { mode: 0o644, content });
        }
        archive.put("/init", Node::File { mode: 0o755, content: b"#!/bin/sh\n".to_vec() });
        archive.put("bin/sh", Node::Link("busybox".into()));
        archive.put("dev/console", Node::Device { major: 5, minor: 1 });
        archive
    }

    fn bytes(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn folders_come_before_what_they_hold() {
        let paths: Vec<_> = sample().0.into_keys().collect();
        let want = [
            "bin",
            "bin/sh",
            "data",
            "data/n",
            "data/nn",
            "data/nnn",
            "data/nnnn",
            "data/nnnnn",
            "dev",
            "dev/console",
            "init",
        ];
        assert_eq!(paths, want);
    }

    #[test]
    fn equal_input_makes_equal_bytes() {
        assert_eq!(bytes(&sample()), bytes(&sample()));
        assert_eq!(bytes(&sample()).len() % 4, 0);
    }

    #[test]
    fn cpio_reads_it() {
        let mut cpio = Command::new("cpio")
            .args(["-t", "-v", "--quiet", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs cpio: `cargo xtask setup` brings it");
        cpio.stdin.take().unwrap().write_all(&bytes(&sample())).unwrap();
        let end = cpio.wait_with_output().unwrap();
        assert!(end.status.success() && end.stderr.is_empty(), "{}", String::from_utf8_lossy(&end.stderr));
        let listing = String::from_utf8(end.stdout).unwrap();
        let rows = [
            ("a folder", "drwxr-xr-x", " data"),
            ("an empty file", "-rw-r--r--", " 0 Jan  1  1970 data/n"),
            ("a file whose end needs padding", "-rw-r--r--", " 3 Jan  1  1970 data/nnnn"),
            ("an executable", "-rwxr-xr-x", " 10 Jan  1  1970 init"),
            ("a link", "lrwxrwxrwx", " bin/sh -> busybox"),
            ("a device", "crw-------", " 5,   1 Jan  1  1970 dev/console"),
        ];
        for (name, start, end) in rows {
            let found = listing.lines().any(|line| line.starts_with(start) && line.ends_with(end));
            assert!(found, "{name}: no line `{start}..{end}` in\n{listing}");
        }
        assert_eq!(listing.lines().count(), 11);
    }
}
