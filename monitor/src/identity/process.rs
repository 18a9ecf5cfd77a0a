//! Processes by their id, for records that say no more. A process id is used again, so what it names now is
//! believed only where it must be the process that the record is about.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use procfs::{ProcError, ProcResult};

use super::Unknown;
use super::cgroup::{self, Place};

/// What is known of the process that a record is about, beside its id. Nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// When it started, exactly.
    Started(u64),
    /// That it was there at this time.
    Seen(u64),
}

/// How exact the clocks are.
const TICK: u64 = 10_000_000;
/// An audit stamp is taken from a clock that stands still between timer interrupts, of which a kernel has at
/// least 100 a second (`ktime_get_coarse_real_ts64`).
const COARSE: u64 = 10_000_000;
/// Less than the kernel needs to make a process, by far.
const FORK: u64 = 1_000;
/// Ids that are left out when the kernel begins again (`RESERVED_PIDS`, kernel/pid.c).
const RESERVED: u64 = 300;

/// Whether a process that started `ticks` after boot is the one that was seen. `reuse` is the shortest time
/// in which every other process id can be used up.
///
/// A process has started before it is seen, and whoever has its id after it started later than it was last
/// seen. The clocks blur this by a tick each; that is harmless where ids do not come back that fast.
pub fn is_same(ticks: u64, sight: Sight, reuse: u64) -> bool {
    let slow = reuse > TICK + COARSE;
    let started = ticks.saturating_mul(TICK);
    match sight {
        Sight::Started(exactly) => exactly / TICK == ticks && slow,
        Sight::Seen(at) if slow => started <= at.saturating_add(COARSE),
        Sight::Seen(at) => started.saturating_add(TICK) <= at,
    }
}

/// Reads `/proc`.
#[derive(Clone, Debug)]
pub struct Processes(PathBuf);

impl Processes {
    /// Those below this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where the process lives, if it is the one that was seen.
    pub fn place(&self, pid: u32, sight: Sight) -> Result<Place, Unknown> {
        // The open folder is bound to the process, not to its id: once that has ended, nothing can be read.
        let process = Process::new_with_root(self.0.join(pid.to_string())).map_err(gone)?;
        let started = process.stat().map_err(gone)?.starttime;
        if !is_same(started, sight, self.reuse()) {
            return Err(Unknown::PidReused);
        }
        read_cgroup(&process).map_err(gone)?.ok_or(Unknown::CgroupUnknown)
    }

    /// Calls `found` with the AppArmor label and the place of each process that can be looked at.
    pub fn each(&self, mut found: impl FnMut(&[u8], Place)) {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let path = entry.path();
            let label = std::fs::read(path.join("attr/apparmor/current")).unwrap_or_default();
            let place = std::fs::read(path.join("cgroup")).ok().and_then(|file| cgroup::parse_file(&file));
            if let Some(place) = place {
                found(&label, place);
            }
        }
    }

    /// The shortest time in which every free process id can be used once.
    fn reuse(&self) -> u64 {
        let number = |path: &Path| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
        let most = number(&self.0.join("sys/kernel/pid_max")).unwrap_or(0);
        let loads = std::fs::read_to_string(self.0.join("loadavg")).unwrap_or_default();
        // `0.00 0.01 0.05 1/103 4711`: the tasks that run, and all.
        let tasks =
            loads.split_ascii_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse().ok());
        most.saturating_sub(RESERVED).saturating_sub(tasks.unwrap_or(most)).saturating_mul(FORK)
    }
}

fn read_cgroup(process: &Process) -> ProcResult<Option<Place>> {
    /// Some 4 KiB a hierarchy, of which v1 has a dozen.
    const LIMIT: u64 = 64 * 1024;
    let mut file = Vec::new();
    process.open_relative("cgroup")?.take(LIMIT).read_to_end(&mut file)?;
    Ok(cgroup::parse_file(&file))
}

/// Whatever keeps a process from being looked at, it is not there for us.
fn gone(error: ProcError) -> Unknown {
    tracing::debug!(%error, "process cannot be looked at");
    Unknown::ProcessGone
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_id_that_was_used_again_is_not_believed() {
        for (name, ticks, sight, reuse, want) in [
            ("long before", 100, Sight::Seen(5 * SECOND), SECOND, true),
            ("long after", 1000, Sight::Seen(5 * SECOND), SECOND, false),
            ("in the tick of the record", 500, Sight::Seen(5 * SECOND), SECOND, true),
            ("the stamp is a little old", 501, Sight::Seen(5 * SECOND), SECOND, true),
            ("later than any clock can be wrong", 502, Sight::Seen(5 * SECOND), SECOND, false),
            ("in the tick, where ids come back fast", 500, Sight::Seen(5 * SECOND), TICK, false),
            ("a tick before, where ids come back fast", 499, Sight::Seen(5 * SECOND), TICK, true),
            ("the very start", 500, Sight::Started(5 * SECOND + 9_999_999), SECOND, true),
            ("another start", 500, Sight::Started(5 * SECOND + TICK), SECOND, false),
            ("the same tick, where ids come back fast", 500, Sight::Started(5 * SECOND), TICK, false),
            ("nonsense", u64::MAX, Sight::Seen(5 * SECOND), SECOND, false),
        ] {
            assert_eq!(is_same(ticks, sight, reuse), want, "{name}");
        }
    }

    #[test]
    fn looks_at_processes() {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = proc.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let id = "a".repeat(64);
        write("sys/kernel/pid_max", "4194304\n");
        write("loadavg", "0.00 0.01 0.05 1/103 4711\n");
        let zeros = "0 ".repeat(30);
        write("7/stat", &format!("7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 {zeros}\n"));
        write("7/cgroup", &format!("0::/docker/{id}\n"));
        write("7/attr/apparmor/current", "web (enforce)\n");
        write("8/attr/apparmor/current", "unconfined\n");
        write("8/cgroup", "0::/\n");
        let processes = Processes::at(proc.path());
        let place = |pid, sight| match processes.place(pid, sight) {
            Ok(Place::Container(ids)) => Ok(ids.container.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(why) => Err(why),
        };
        assert_eq!(place(7, Sight::Seen(6 * SECOND)), Ok(id));
        assert_eq!(place(7, Sight::Seen(SECOND)), Err(Unknown::PidReused));
        assert_eq!(place(9, Sight::Seen(SECOND)), Err(Unknown::ProcessGone));
        let mut labels = Vec::new();
        processes.each(|label, _| labels.push(label.to_vec()));
        labels.sort();
        assert_eq!(labels, [&b"unconfined\n"[..], b"web (enforce)\n"]);
    }
}
