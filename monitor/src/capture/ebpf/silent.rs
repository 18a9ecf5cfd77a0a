//! Silent denials: which programs fit this kernel, and what they have added up.

mod books;

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use aya::maps::{Array, HashMap, MapData};
use aya::programs::{FEntry, FExit, ProgramError};
use aya::{Btf as AyaBtf, Ebpf as Object};

use aa_monitor_ebpf::{CLASS_UNKNOWN, Tally, TallyKey, audit_mode, setting};

use self::books::{Books, Step};
use super::attach::{kprobe, program, reason};
use super::btf::Btf;
use super::ring::skipped_runs;
use crate::capture::{SilentDenial, SilentReason};
use crate::ledger::{Attached, Hook, Ledger, Loss};
use crate::record::{self, Class, Origin, Verdict, Violation};
use crate::{node, sys};

/// Which denials without a record to count.
#[repr(u16)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silent {
    /// None: nothing is loaded.
    #[default]
    Off = 0,
    /// Those that a rule, the audit mode or the capability cache keeps quiet.
    On = 1,
    /// And capability checks that ask not to be reported.
    All = 2,
}

/// Room in the kernel's maps: for what is counted, and for threads between report and return.
pub(super) const ROOM: u32 = 4096;

/// The same, one when nothing is counted.
pub(super) fn room(silent: Silent) -> u32 {
    if silent == Silent::Off { 1 } else { ROOM }
}

/// A program for one signature of one function.
struct Fit {
    function: &'static str,
    /// Parameters that the program reads, with their places.
    parameters: &'static [(usize, &'static str)],
    ways: &'static [(Attached, &'static str)],
}

/// A function to hook, with the programs that fit it; none when its signature is a new one.
pub(super) struct Planned {
    pub(super) function: &'static str,
    ways: &'static [(Attached, &'static str)],
}

macro_rules! fits {
    ($($function:literal [$($place:literal $name:literal),*] $($way:ident $program:literal),*;)*) => {
        &[$(Fit {
            function: $function,
            parameters: &[$(($place, $name)),*],
            ways: &[$((Attached::$way, $program)),*],
        },)*]
    };
}

const FITS: &[Fit] = fits! {
    "aa_audit_file" [1 "profile", 2 "perms", 3 "op", 4 "request", 5 "name", 10 "error"] Fentry "silent_file_cred_fentry";
    "aa_audit_file" [0 "profile", 1 "perms", 2 "op", 3 "request", 4 "name", 9 "error"] Kprobe "silent_file_kprobe";
    "aa_check_perms" [0 "profile", 1 "perms", 2 "request"] Fentry "silent_check_fentry";
    "aa_audit" [0 "type", 1 "profile"] Fexit "silent_audit_fexit";
    "aa_capable" [1 "label", 2 "cap", 3 "opts"] Fexit "silent_capable_cred_fexit";
    "aa_capable" [0 "label", 1 "cap", 2 "opts"] Fexit "silent_capable_fexit";
};

/// Not where [`MOUNTS_CHECKED`] is there.
const MOUNT_FITS: &[Fit] = fits! {
    "aa_new_mount" [1 "label"] Fexit "silent_new_mount_cred_fexit";
    "aa_new_mount" [0 "label"] Fexit "silent_new_mount_fexit";
    "aa_bind_mount" [1 "label"] Fexit "silent_bind_mount_cred_fexit";
    "aa_bind_mount" [0 "label"] Fexit "silent_bind_mount_fexit";
    "aa_remount" [1 "label"] Fexit "silent_remount_cred_fexit";
    "aa_remount" [0 "label"] Fexit "silent_remount_fexit";
    "aa_mount_change_type" [1 "label"] Fexit "silent_mount_type_cred_fexit";
    "aa_mount_change_type" [0 "label"] Fexit "silent_mount_type_fexit";
    "aa_umount" [1 "label"] Fexit "silent_umount_cred_fexit";
    "aa_umount" [0 "label"] Fexit "silent_umount_fexit";
};

/// Came with the kernel (7.3) whose mounts go through `aa_check_perms`.
const MOUNTS_CHECKED: &str = "aa_audit_perm_error";

/// Whose program looks for this member at the start of its structure, which saves it half of its instructions.
const CHECK: &str = "aa_check_perms";
const ALLOW: &str = "aa_perms.allow";

/// Whether the kprobe finds the arguments that are passed on the stack: it does where the ABI is x86-64's.
const STACK_ARGUMENTS: bool = cfg!(target_arch = "x86_64");

/// Which programs to load for this kernel.
pub(super) fn plan(btf: &Btf<'_>, silent: Silent) -> Vec<Planned> {
    if silent == Silent::Off {
        return Vec::new();
    }
    let mounts = if btf.parameters(MOUNTS_CHECKED).is_some() { &[][..] } else { MOUNT_FITS };
    let mut planned: Vec<Planned> = Vec::new();
    for fit in FITS.iter().chain(mounts) {
        let parameters = btf.parameters(fit.function).unwrap_or_default();
        let fits = fit.parameters.iter().all(|(at, name)| parameters.get(*at) == Some(&name.as_bytes()));
        let fits = fits && (fit.function != CHECK || btf.offset(ALLOW) == Some(0));
        let fits = fits && (STACK_ARGUMENTS || fit.ways.iter().all(|(way, _)| *way != Attached::Kprobe));
        let ways = if fits { fit.ways } else { &[] };
        match planned.last_mut().filter(|last| last.function == fit.function) {
            Some(last) if fits => last.ways = ways,
            Some(_) => {}
            None => planned.push(Planned { function: fit.function, ways }),
        }
    }
    planned
}

/// Loads and attaches what fits, for as long as this agent runs; to be done last, because what is reported must
/// be known to be. What does not fit is a hook that is not attached, with the reason.
pub(super) fn attach(object: &mut Object, btf: &AyaBtf, planned: &[Planned]) -> Vec<Hook> {
    planned
        .iter()
        .map(|Planned { function, ways }| {
            let mut reasons = Vec::new();
            for (attached, name) in *ways {
                let done = match attached {
                    Attached::Kprobe => kprobe(object, name, function),
                    Attached::Fentry => fentry(object, name, function, btf),
                    _ => fexit(object, name, function, btf),
                };
                match done {
                    Ok(()) => return Hook { function, attached: *attached, reason: String::new() },
                    Err(error) => reasons.push(reason(attached.as_str(), &error)),
                }
            }
            if ways.is_empty() {
                reasons.push("this kernel's function is not there, or takes other arguments".to_owned());
            }
            Hook { function, attached: Attached::No, reason: reasons.join("; ") }
        })
        .collect()
}

fn fentry(object: &mut Object, name: &str, function: &str, btf: &AyaBtf) -> Result<(), ProgramError> {
    let program: &mut FEntry = program(object, name)?;
    program.load(function, btf)?;
    program.attach().map(drop)
}

fn fexit(object: &mut Object, name: &str, function: &str, btf: &AyaBtf) -> Result<(), ProgramError> {
    let program: &mut FExit = program(object, name)?;
    program.load(function, btf)?;
    program.attach().map(drop)
}

/// A [`TallyKey`] as aya wants it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Key(TallyKey);

/// A [`Tally`] as aya wants it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value(Tally);

crate::sys::plain_for_maps!(Key, Value);

/// Leaves the ledger a reader of the tallies, and has the runs counted that the kernel skipped.
pub(super) fn watch(object: &mut Object, silent: Silent, ledger: &Ledger) -> anyhow::Result<()> {
    if silent == Silent::Off {
        return Ok(());
    }
    let map = object.take_map("TALLIES").context("the object has no map TALLIES")?;
    let mut tallies: HashMap<MapData, Key, Value> = HashMap::try_from(map)?;
    let map = object.take_map("SETTINGS").context("the object has no map SETTINGS")?;
    let mut settings: Array<MapData, u32> = Array::try_from(map)?;
    let mut books = Books::new(Instant::now());
    ledger.set_silent_reader(Box::new(move || {
        // A setting that cannot be written is one that stays as it was.
        let _ = settings.set(setting::AUDIT_MODE, audit_mode(), 0);
        let entries: Vec<(Key, Value)> = tallies.iter().filter_map(Result::ok).collect();
        let read = SystemTime::now();
        let grown = entries.iter().filter_map(|(Key(key), Value(tally))| {
            let count = books.grown(key, tally.count);
            if count == 0 { None } else { denial(key, tally, count, read) }
        });
        let grown = grown.collect();
        match books.step(entries.len(), Instant::now()) {
            Step::Stay => {}
            Step::Begin(epoch) => {
                let begun = settings.set(setting::EPOCH, u32::from(epoch), 0).is_ok();
                // Without the wait it would not be known when the last one has been added to the old epoch.
                books.begun(begun && sys::wait_for_programs().is_ok());
            }
            Step::Forget(epoch) => {
                for (Key(key), _) in entries.iter().filter(|(Key(key), _)| key.epoch == epoch) {
                    // One that is still there is read again, and has not grown.
                    if tallies.remove(&Key(*key)).is_ok() {
                        books.forget(key);
                    }
                }
            }
        }
        grown
    }));
    let programs: Vec<OwnedFd> = object
        .programs()
        .filter(|(name, _)| name.starts_with("silent_"))
        .filter_map(|(_, program)| program.fd().ok()?.as_fd().try_clone_to_owned().ok())
        .collect();
    ledger.on_scrape(Box::new(move |ledger| {
        ledger.set_lost(Loss::SilentBusy, programs.iter().filter_map(skipped_runs).sum());
    }));
    Ok(())
}

/// What the kernel's audit mode makes of quiet rules, now.
fn audit_mode() -> u32 {
    let parameters = node::parameters();
    let mode = parameters.iter().find(|(name, _)| *name == "audit").map(|(_, value)| value.as_str());
    audit_mode_of(mode.unwrap_or_default())
}

/// By the words of `audit_mode_names` (security/apparmor/audit.c). One that cannot be read is taken for normal.
fn audit_mode_of(word: &str) -> u32 {
    match word {
        "" | "normal" => audit_mode::PROFILE,
        "noquiet" | "all" => audit_mode::LOUD,
        _ => audit_mode::QUIET,
    }
}

/// What an entry says; `None` when the programs are another version's.
fn denial(key: &TallyKey, tally: &Tally, count: u64, read: SystemTime) -> Option<SilentDenial> {
    Some(SilentDenial {
        class: class(key, text(&tally.operation)),
        operation: text(&tally.operation).to_owned(),
        profile: text(&tally.profile).to_owned(),
        namespace: text(&tally.namespace).to_owned(),
        example: text(&tally.name).to_owned(),
        capability: u32::try_from(key.capability).ok(),
        cgroup_id: key.cgroup_id,
        reason: SilentReason::of_wire(key.reason)?,
        count,
        read,
    })
}

fn class(key: &TallyKey, operation: &[u8]) -> Class {
    const AF_UNIX: u16 = 1;
    let mut violation = Violation::new(Verdict::Denied, Class::Other, Origin::Ebpf, operation);
    violation.family = match key.family {
        0 => None,
        AF_UNIX => Some(b"unix"),
        // The class is network whichever it is.
        _ => Some(b"inet"),
    };
    // security/apparmor/include/apparmor.h: AA_CLASS_*, in the words of a record.
    let word: Option<&[u8]> = match key.class {
        CLASS_UNKNOWN => None,
        2 => Some(b"file"),
        3 => Some(b"cap"),
        5 => Some(b"rlimits"),
        7 => Some(b"mount"),
        9 => Some(b"ptrace"),
        10 => Some(b"signal"),
        14 | 15 => Some(b"net"),
        17 => Some(b"posix_mqueue"),
        21 => Some(b"namespace"),
        22 => Some(b"io_uring"),
        32 => Some(b"dbus"),
        _ => Some(b"unknown"),
    };
    record::classify(word, &violation)
}

fn text(padded: &[u8]) -> &[u8] {
    padded.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_modes_by_the_kernels_words() {
        for (word, want) in [
            ("normal", audit_mode::PROFILE),
            ("", audit_mode::PROFILE),
            ("quiet_denied", audit_mode::QUIET),
            ("quiet", audit_mode::QUIET),
            ("quiet_allowed", audit_mode::QUIET),
            ("noquiet", audit_mode::LOUD),
            ("all", audit_mode::LOUD),
        ] {
            assert_eq!(audit_mode_of(word), want, "{word}");
        }
    }

    #[test]
    fn classes_come_from_the_number_or_the_operation() {
        for (name, class_number, family, operation, want) in [
            ("file", 2, 0, "open", Class::File),
            ("exec is a file to the kernel", 2, 0, "exec", Class::Exec),
            ("capability", 3, 0, "", Class::Capability),
            ("mount", 7, 0, "", Class::Mount),
            ("socket", 14, 2, "create", Class::Network),
            ("unix socket", 14, 1, "create", Class::Unix),
            ("socket, 6.1", CLASS_UNKNOWN, 2, "create", Class::Network),
            ("signal, 6.1", CLASS_UNKNOWN, 0, "signal", Class::Signal),
            ("ptrace, 6.1", CLASS_UNKNOWN, 0, "ptrace", Class::Ptrace),
            ("to come", 99, 0, "", Class::Other),
        ] {
            let key = TallyKey { class: class_number, family, ..bytemuck::Zeroable::zeroed() };
            assert_eq!(class(&key, operation.as_bytes()), want, "{name}");
        }
    }
}
