//! Silent denials: which programs fit this kernel, and what they have added up.

use anyhow::Context as _;
use aya::maps::{HashMap, MapData};
use aya::programs::{FExit, ProgramError};
use aya::{Btf as AyaBtf, Ebpf as Object};

use aa_monitor_ebpf::{CLASS_UNKNOWN, Tally, TallyKey};

use super::attach::{kprobe, program, reason};
use super::btf::Btf;
use crate::capture::{SilentDenial, SilentReason};
use crate::ledger::{Attached, Hook, Ledger};
use crate::record::{self, Class, Origin, Verdict, Violation};

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
pub(super) fn room(silent: Silent) -> u32 {
    const ROOM: u32 = 4096;
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
    "aa_audit_file" [1 "profile", 2 "perms", 3 "op", 4 "request", 5 "name", 10 "error"] Fexit "silent_file_cred_fexit";
    "aa_audit_file" [0 "profile", 1 "perms", 2 "op", 3 "request", 4 "name", 9 "error"] Kprobe "silent_file_kprobe";
    "aa_check_perms" [0 "profile", 1 "perms", 2 "request"] Fexit "silent_check_fexit";
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

/// Has the tallies read at every scrape.
pub(super) fn watch(object: &mut Object, silent: Silent, ledger: &Ledger) -> anyhow::Result<()> {
    if silent == Silent::Off {
        return Ok(());
    }
    let map = object.take_map("TALLIES").context("the object has no map TALLIES")?;
    let tallies: HashMap<MapData, Key, Value> = HashMap::try_from(map)?;
    ledger.on_scrape(Box::new(move |ledger| {
        // Nothing is ever removed, so a walk sees each entry once.
        let read = tallies.iter().filter_map(Result::ok);
        ledger.set_silent(read.filter_map(|(Key(key), Value(tally))| denial(&key, &tally)).collect());
    }));
    Ok(())
}

/// What an entry says; `None` when the programs are another version's.
fn denial(key: &TallyKey, tally: &Tally) -> Option<SilentDenial> {
    Some(SilentDenial {
        class: class(key, text(&tally.operation)),
        operation: text(&tally.operation).to_owned(),
        profile: text(&tally.profile).to_owned(),
        namespace: text(&tally.namespace).to_owned(),
        example: text(&tally.name).to_owned(),
        capability: u32::try_from(key.capability).ok(),
        cgroup_id: key.cgroup_id,
        reason: SilentReason::of_wire(key.reason)?,
        count: tally.count,
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
