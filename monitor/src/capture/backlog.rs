//! What logs still hold of the time when no agent ran: the kernel's log, and the audit daemon's file, to which
//! the kernel's records go instead while that daemon runs.
//!
//! Second best to what is pinned in the BPF file system: the kernel's log is a ring, and prints no more than ten
//! records in five seconds by default. What it says that it left out is counted as lost.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bstr::ByteSlice as _;
use nix::fcntl::OFlag;

use crate::record::Origin;

const KMSG: &str = "/dev/kmsg";
const AUDIT_LOG: &str = "/var/log/audit/audit.log";
/// A record of /dev/kmsg is at most this long (`PRINTK_MESSAGE_MAX`, kernel/printk/internal.h).
const RECORD_MAX: usize = 8 << 10;
/// A line of the audit daemon that is longer is none (`MAX_AUDIT_MESSAGE_LENGTH`).
const LINE_MAX: u64 = 16 << 10;
/// Of the audit daemon's file, the end.
const TAIL: u64 = 16 << 20;
/// The latest records of each log are kept, the others are counted: 8 MiB or so at most.
const RECORDS: usize = 8_192;

/// What one log holds.
#[derive(Debug)]
pub struct Backlog {
    /// What its records are.
    pub origin: Origin,
    /// Its name.
    pub path: &'static str,
    /// In the log's order.
    pub entries: VecDeque<Entry>,
    /// How many records before the first entry were left out for lack of room.
    pub cut: u64,
}

/// A line of a log that matters.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// One that AppArmor may have written.
    Record(Box<[u8]>),
    /// The kernel left out so many lines here, most of them records of audit.
    Suppressed(u64),
}

/// Reads the logs that can be read, and says which cannot.
pub fn read() -> Vec<Backlog> {
    let kmsg = (KMSG, Origin::Kmsg, read_kmsg as fn(&mut Backlog) -> io::Result<()>);
    let file = (AUDIT_LOG, Origin::File, read_audit_log as fn(&mut Backlog) -> io::Result<()>);
    let logs = [kmsg, file].into_iter().filter_map(|(path, origin, read)| {
        let mut backlog = Backlog { origin, path, entries: VecDeque::new(), cut: 0 };
        match read(&mut backlog) {
            Ok(()) => return Some(backlog),
            // Most nodes have no audit daemon.
            Err(error) if error.kind() == ErrorKind::NotFound && path == AUDIT_LOG => {}
            Err(error) => tracing::info!(
                "{path}: {error}: what it holds of the time when no agent ran is not counted; it needs CAP_SYSLOG, \
                 and the file in the agent's container"
            ),
        }
        None
    });
    logs.collect()
}

impl Backlog {
    fn take(&mut self, line: &[u8]) {
        let entry = match suppressed(line) {
            Some(number) => Entry::Suppressed(number),
            None if line.contains_str(b"apparmor=\"") => Entry::Record(line.into()),
            None => return,
        };
        if self.entries.len() >= RECORDS {
            let oldest = self.entries.pop_front();
            self.cut += u64::from(matches!(oldest, Some(Entry::Record(_))));
        }
        self.entries.push_back(entry);
    }
}

fn read_kmsg(into: &mut Backlog) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(KMSG)?;
    let mut buffer = vec![0; RECORD_MAX];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            // A record's further lines are its properties (Documentation/ABI/testing/dev-kmsg).
            Ok(length) => {
                let record = buffer.get(..length).unwrap_or_default();
                into.take(record.split(|byte| *byte == b'\n').next().unwrap_or_default());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The kernel's ring has overtaken us (EPIPE), or a record is longer than any (EINVAL): each read
            // goes on with the next.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINVAL | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_audit_log(into: &mut Backlog) -> io::Result<()> {
    read_tail(File::open(Path::new(AUDIT_LOG))?, into)
}

fn read_tail(mut file: File, into: &mut Backlog) -> io::Result<()> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    // What is written meanwhile is the live source's; and a file that grows for ever must end.
    let mut reader = BufReader::new(file.take(length - start));
    let mut line = Vec::new();
    let mut whole = start == 0;
    loop {
        line.clear();
        if (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // The first may be the end of one, and so is what follows one that is too long.
        let ends = line.pop_if(|last| *last == b'\n').is_some();
        if whole && ends {
            into.take(&line);
        }
        whole = ends;
    }
}

/// `kauditd_printk_skb: 190 callbacks suppressed`: so many lines the kernel's limit kept out of its log
/// (`___ratelimit`, lib/ratelimit.c). It names who printed next; `printk_ratelimit` is shared by others.
fn suppressed(line: &[u8]) -> Option<u64> {
    let (head, message) = line.split_once_str(b";")?;
    // A process writes with a facility of its own, never the kernel's.
    let priority: u32 = head.split_str(b",").next()?.to_str().ok()?.parse().ok()?;
    let (who, rest) = message.split_once_str(b": ")?;
    let number = rest.strip_suffix(b" callbacks suppressed")?;
    let ours = priority < 8 && (who.starts_with(b"audit") || who.starts_with(b"kauditd"));
    ours.then(|| number.to_str().ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn empty() -> Backlog {
        Backlog { origin: Origin::File, path: "log", entries: VecDeque::new(), cut: 0 }
    }

    #[test]
    fn only_the_kernel_tells_what_it_suppressed() {
        for (line, want) in [
            ("4,1500,99,-;kauditd_printk_skb: 190 callbacks suppressed", Some(190)),
            ("4,1500,99,-;audit: 7 callbacks suppressed", Some(7)),
            ("12,1500,99,-;kauditd_printk_skb: 190 callbacks suppressed", None),
            ("4,1500,99,-;net_ratelimit: 5 callbacks suppressed", None),
            ("4,1500,99,-;audit: many callbacks suppressed", None),
            ("5,1,1,-;audit: type=1400 audit(1.0:1): apparmor=\"DENIED\"", None),
            ("", None),
        ] {
            assert_eq!(suppressed(line.as_bytes()), want, "{line}");
        }
    }

    #[test]
    fn the_latest_are_kept_and_the_others_counted() {
        let mut backlog = empty();
        for number in 0..RECORDS + 3 {
            backlog.take(format!("apparmor=\"{number}").as_bytes());
        }
        backlog.take(b"something else");
        assert_eq!((backlog.entries.len(), backlog.cut), (RECORDS, 3));
        assert_eq!(backlog.entries[0], Entry::Record(b"apparmor=\"3"[..].into()));
    }

    #[test]
    fn a_file_is_read_from_its_end_line_by_line() {
        let mut file = tempfile::tempfile().unwrap();
        let long = "x".repeat(LINE_MAX as usize + 5);
        write!(file, "apparmor=\"1\nother\n{long}apparmor=\"2\napparmor=\"3\napparmor=\"cut").unwrap();
        let mut backlog = empty();
        read_tail(file.try_clone().unwrap(), &mut backlog).unwrap();
        let want = ["apparmor=\"1", "apparmor=\"3"].map(|line| Entry::Record(line.as_bytes().into()));
        assert_eq!(backlog.entries, want);

        file.set_len(0).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        write!(file, "apparmor=\"1\n{}\napparmor=\"2\n", "y\n".repeat(TAIL as usize / 2)).unwrap();
        let mut backlog = empty();
        read_tail(file, &mut backlog).unwrap();
        assert_eq!(backlog.entries, [Entry::Record(b"apparmor=\"2"[..].into())]);
    }
}
