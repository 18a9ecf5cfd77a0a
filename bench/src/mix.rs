//! A log of any length in which the recorded records come again and again, with other stamps, processes and
//! names: the same for the same corpus, always.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Result, ensure};

use crate::dice::Dice;

/// One of so many names with a path in them gets one that the kernel writes in hex. A good half of the
/// records have such a name, so that of all records one in ten is so.
const HEX_ONE_IN: u64 = 6;

/// Of so many records one has the profile of a container, the others the one that was recorded.
const CONTAINER_ONE_IN: u64 = 2;

const PROFILES: [&str; 4] =
    ["docker-default", "cri-containerd.apparmor.d", "snap.firefox.firefox", "/usr/sbin/cups-browsed"];
const FOLDERS: [&str; 6] = [
    "/etc",
    "/var/lib/app",
    "/proc/4221/task/4230",
    "/home/someone/.config/app/cache",
    "/usr/share/perl5/Debconf/FrontEnd",
    "/var/lib/kubelet/pods/5f0c9d7e-6f3b-4d38-a1b5-6d2d5c9f7a10/volumes/kubernetes.io~projected/token",
];
const FILES: [&str; 4] = ["passwd", "settings.json", "libexample.so.1.2.3", "x"];
/// Names that the kernel does not print as they are.
const ODD_FILES: [&str; 3] = ["My Documents", "r\u{e9}sum\u{e9}.pdf", "say \"cheese\""];

/// The records of a corpus, taken apart.
#[derive(Debug)]
pub(crate) struct Mix<'a> {
    records: Vec<Record<'a>>,
}

/// A recorded record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record<'a> {
    /// auditd's word for its type.
    kind: &'static str,
    /// What stands between spaces.
    words: Vec<Word<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    /// Written as it was recorded.
    Same(&'a str),
    /// `profile="..."`.
    Profile(&'a str),
    /// `name="/..."`.
    Path,
    /// `pid=...`.
    Process,
}

impl<'a> Record<'a> {
    /// Reads a line of the kernel's log, `audit: type=1400 audit(1.2:3): apparmor=..`.
    fn read(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_prefix("audit: type=")?;
        let (kind, rest) = line.split_once(' ')?;
        let kind = match kind {
            "1400" => "AVC",
            "1107" => "USER_AVC",
            _ => return None,
        };
        let (_, body) = rest.split_once("): ")?;
        Some(Self { kind, words: body.split(' ').map(Word::of).collect() })
    }
}

impl<'a> Word<'a> {
    fn of(word: &'a str) -> Self {
        let Some((key, value)) = word.split_once('=') else { return Self::Same(word) };
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        match (key, quoted) {
            ("profile", Some(profile)) => Self::Profile(profile),
            ("name", Some(name)) if name.starts_with('/') => Self::Path,
            ("pid", None) => Self::Process,
            _ => Self::Same(word),
        }
    }

    fn write(self, dice: &mut Dice, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Same(word) => write!(out, " {word}"),
            Self::Profile(recorded) => {
                let profile = if dice.below(CONTAINER_ONE_IN) == 0 { dice.pick(&PROFILES) } else { None };
                write!(out, " profile=\"{}\"", profile.copied().unwrap_or(recorded))
            }
            Self::Path => write_name(dice, out),
            Self::Process => write!(out, " pid={}", 100 + dice.below(4_000_000)),
        }
    }
}

impl<'a> Mix<'a> {
    /// The mix of a corpus: each of its records as often as any other.
    pub(crate) fn of(corpus: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let records: Vec<_> = corpus.into_iter().flat_map(crate::lines).filter_map(Record::read).collect();
        ensure!(!records.is_empty(), "there is no record in the corpus");
        Ok(Self { records })
    }

    /// Writes so many records as auditd does.
    pub(crate) fn write(&self, count: u64, path: impl AsRef<Path>) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut dice = Dice::default();
        for serial in 1..=count {
            self.write_one(serial, &mut dice, &mut out)?;
        }
        out.flush()
    }

    fn write_one(&self, serial: u64, dice: &mut Dice, out: &mut impl Write) -> io::Result<()> {
        let Some(Record { kind, words }) = dice.pick(&self.records) else { return Ok(()) };
        let millis = 1_795_450_134_000 + serial * 3;
        write!(out, "type={kind} msg=audit({}.{:03}:{serial}):", millis / 1000, millis % 1000)?;
        words.iter().try_for_each(|word| word.write(dice, out))?;
        writeln!(out)
    }
}

/// `name=` and a path, as `audit_log_untrustedstring` writes it.
fn write_name(dice: &mut Dice, out: &mut impl Write) -> io::Result<()> {
    let folder = dice.pick(&FOLDERS).unwrap_or(&"");
    if dice.below(HEX_ONE_IN) > 0 {
        return write!(out, " name=\"{folder}/{}\"", dice.pick(&FILES).unwrap_or(&"x"));
    }
    write!(out, " name=")?;
    let odd = dice.pick(&ODD_FILES).unwrap_or(&"a b");
    folder.bytes().chain([b'/']).chain(odd.bytes()).try_for_each(|byte| write!(out, "{byte:02X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: &[u8] = b"# lab-enforce: open /lab/secret\n\
        audit: type=1400 audit(1795496184.647:7): apparmor=\"DENIED\" operation=\"open\" class=\"file\" profile=\"lab-enforce\" name=\"/lab/secret\" pid=107 comm=\"provoke\" requested_mask=\"r\" denied_mask=\"r\" fsuid=0 ouid=0\n\
        audit: type=1400 audit(1795496184.787:17): apparmor=\"DENIED\" operation=\"capable\" class=\"cap\" profile=\"lab-enforce\" pid=113 comm=\"provoke\" capability=18  capname=\"sys_chroot\"\n";

    fn make(count: u64) -> String {
        let mix = Mix::of([CORPUS]).unwrap();
        let (mut dice, mut out) = (Dice::default(), Vec::new());
        for serial in 1..=count {
            mix.write_one(serial, &mut dice, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn is_the_same_each_time_and_differs_from_record_to_record() {
        let log = make(500);
        assert_eq!(log, make(500));
        let lines: std::collections::HashSet<_> = log.lines().collect();
        assert_eq!(lines.len(), 500);
    }

    #[test]
    fn changes_only_stamp_process_profile_and_name() {
        for line in make(500).lines() {
            let body = line.split_once("): ").unwrap().1;
            let file = body.contains("operation=\"open\"");
            let tail = if file {
                r#" comm="provoke" requested_mask="r" denied_mask="r" fsuid=0 ouid=0"#
            } else {
                r#" comm="provoke" capability=18  capname="sys_chroot""#
            };
            assert!(line.starts_with("type=AVC msg=audit(17954"), "{line}");
            assert!(body.starts_with(r#"apparmor="DENIED" operation=""#) && body.ends_with(tail), "{line}");
            assert_eq!(body.matches(" pid=").count(), 1, "{line}");
            assert_eq!(body.matches(" name=").count(), usize::from(file), "{line}");
        }
    }

    #[test]
    fn some_names_are_hex() {
        let log = make(2000);
        let named = log.matches(" name=").count();
        let hex = log.matches(" name=2F").count();
        assert!((named / 9..named / 4).contains(&hex), "{hex} of {named}");
    }

    #[test]
    fn a_corpus_without_records_is_refused() {
        assert!(Mix::of([&b"# nothing\n"[..]]).is_err());
    }
}
