//! Silent denials: what AppArmor refuses without ever calling `common_lsm_audit`.
//!
//! The programs sit on the functions that decide for confined tasks, at their entry where the arguments say how it
//! will end, and else at their return. What is allowed ends them at once. A denial that was reported left a note
//! (see [`note`]) and is none of theirs. Unconfined tasks do not come here.

mod hooks;

use core::arch::asm;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};

use aa_monitor_ebpf::{Tally, TallyKey, counter, reason, setting};

use crate::read::{at, layout};
use crate::{COUNTERS, who};

/// `common_audit_data.type` of a record about a capability.
const LSM_AUDIT_DATA_CAP: u8 = 3;

/// 1 when any of these programs is loaded; 2 when checks that ask not to be reported are counted too.
/// Written by the agent; at 0 the notes are dead code.
#[unsafe(no_mangle)]
static SILENT: u16 = 0;

/// Silent denials by what they have in common. The agent sets the size, one when they are off. Only the agent
/// removes entries, of epochs that have ended. What finds no room is counted.
#[map]
static TALLIES: HashMap<TallyKey, Tally> = HashMap::with_max_entries(4096, 0);

/// Thread -> the denial that it has just had reported.
#[map]
static REPORTED: LruHashMap<u64, Reported> = LruHashMap::with_max_entries(4096, 0);

/// What the agent keeps up to date, see [`setting`].
#[map]
static SETTINGS: Array<u32> = Array::with_max_entries(setting::SLOTS, 0);

/// Where a new tally is put together: one for each program, because a run that is interrupted keeps out another
/// one of the same program from that CPU, and of no other.
#[map]
static NEW_TALLY: PerCpuArray<Tally> = PerCpuArray::with_max_entries(desk::SLOTS, 0);

/// Slots of [`NEW_TALLY`], by program.
mod desk {
    pub(super) const FILE: u32 = 0;
    pub(super) const CHECK: u32 = 1;
    pub(super) const AUDIT: u32 = 2;
    pub(super) const CAPABLE: u32 = 3;
    pub(super) const NEW_MOUNT: u32 = 4;
    pub(super) const BIND_MOUNT: u32 = 5;
    pub(super) const REMOUNT: u32 = 6;
    pub(super) const MOUNT_TYPE: u32 = 7;
    pub(super) const UMOUNT: u32 = 8;
    pub(super) const SLOTS: u32 = 9;
}

/// A denial that was reported.
#[repr(C)]
#[derive(Clone, Copy)]
struct Reported {
    operation: u64,
    name: u64,
    profile: u64,
    capability: i32,
    letters: [u8; 2],
    pad: [u8; 2],
}

/// How much the agent wants to know.
#[inline(always)]
fn level() -> u16 {
    crate::read::constant(&SILENT)
}

/// Remembers that this thread's denial has a record. Whatever becomes of that record: one that is lost is
/// counted as lost, and not here as well.
#[inline(always)]
pub(crate) fn note(cad: u64) {
    if level() == 0 {
        return;
    }
    let ad: u64 = at(cad, layout!(cad_ad)).unwrap_or(0);
    let verdict: i32 = at(ad, layout!(ad_type)).unwrap_or(-1);
    let error: i32 = at(ad, layout!(ad_error)).unwrap_or(0);
    if !refuses(verdict, error) {
        return;
    }
    let capability = match at::<u8>(cad, layout!(cad_type)) {
        Some(LSM_AUDIT_DATA_CAP) => at(cad, layout!(cad_u)).unwrap_or(-1),
        _ => -1,
    };
    let label: u64 = at(ad, layout!(ad_subj_label)).or(at(ad, layout!(ad_label))).unwrap_or(0);
    let operation: u64 = at(ad, layout!(ad_op)).unwrap_or(0);
    let reported = Reported {
        operation,
        name: at(ad, layout!(ad_name)).unwrap_or(0),
        profile: at(label, layout!(label_vec)).unwrap_or(0),
        capability,
        letters: at(operation, 0).unwrap_or([0; 2]),
        pad: [0; 2],
    };
    let _full = REPORTED.insert(&bpf_get_current_pid_tgid(), &reported, 0);
}

/// Whether the function that reports this returns an error: complain mode forgives two of them
/// (`complain_error`, security/apparmor/include/audit.h).
#[inline(always)]
fn refuses(verdict: i32, error: i32) -> bool {
    const ALLOWED: i32 = 1;
    const DENIED: i32 = 2;
    const KILLED: i32 = 6;
    const EPERM: i32 = -1;
    const EACCES: i32 = -13;
    verdict == DENIED
        || verdict == KILLED
        || (verdict == ALLOWED && error != 0 && error != EPERM && error != EACCES)
}

/// Takes the note of a denial that has a record; false when this one has none.
#[inline(always)]
fn reported(is: impl FnOnce(&Reported) -> bool) -> bool {
    let thread = bpf_get_current_pid_tgid();
    let Some(reported) = REPORTED.get_ptr(&thread) else { return false };
    // SAFETY: an entry of the map; only this thread writes it.
    let found = is(unsafe { &*reported });
    if found {
        let _gone = REPORTED.remove(&thread);
    }
    found
}

/// What a denial was about, where it is not in the key.
#[derive(Clone, Copy)]
struct Subject {
    profile: u64,
    operation: u64,
    name: u64,
}

/// Whose profile refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The current task's.
    Own,
    /// That of the task which it signals or traces.
    Target,
}

/// What tells one tally from another, without the profile.
#[derive(Clone, Copy)]
struct What {
    class: u16,
    family: u16,
    capability: i32,
    reason: u8,
    side: Side,
}

/// What the agent has set.
#[inline(always)]
fn set(slot: u32) -> u32 {
    // SAFETY: one aligned word of the map.
    SETTINGS.get_ptr(slot).map_or(0, |value| unsafe { value.read_volatile() })
}

/// Whether the low half of an argument, which is all of an `int` that is defined, is not 0. One instruction where
/// the compiler, which uses none of 32 bits here, takes two.
#[inline(always)]
fn is_set(argument: u64) -> bool {
    // SAFETY: reads a register, and goes on here or there.
    unsafe { asm!("if w2 != 0 goto {0}", label { return true }, in("r2") argument, options(nomem, nostack)) };
    false
}

/// Whether the low halves of two words have a bit in common. One instruction of two.
#[inline(always)]
fn meet(a: u64, b: u64) -> bool {
    // SAFETY: reads two registers, and goes on here or there.
    unsafe {
        asm!("if w2 & w3 goto {0}", label { return true }, in("r2") a, in("r3") b, options(nomem, nostack));
    }
    false
}

/// Adds one silent denial, put together at this program's own [`desk`]. 0, as a program ends.
#[inline(always)]
fn tally(desk: u32, subject: Subject, what: What) -> u32 {
    if what.reason == reason::NO_AUDIT && level() < 2 {
        return 0;
    }
    let Some(new) = NEW_TALLY.get_ptr_mut(desk) else { return 0 };
    // SAFETY: the map's value on this CPU and of this program, which no other run uses at the same time; all of
    // it is written.
    let new = unsafe { &mut *new };
    new.count = 1;
    string(&mut new.profile, at(subject.profile, layout!(profile_hname)));
    let ns: u64 = at(subject.profile, layout!(profile_ns)).unwrap_or(0);
    let level: i32 = at(ns, layout!(ns_level)).unwrap_or(0);
    string(&mut new.namespace, if level == 0 { None } else { at(ns, layout!(ns_hname)) });
    let key = TallyKey {
        profile: hash(&new.profile, hash(&new.namespace, 0)),
        cgroup_id: match what.side {
            Side::Own => who::current_cgroup(),
            Side::Target => who::cgroup(who::target(bpf_get_current_pid_tgid())),
        },
        operation: subject.operation,
        capability: what.capability,
        class: what.class,
        family: what.family,
        reason: what.reason,
        epoch: set(setting::EPOCH) as u8,
        pad: [0; 6],
    };
    if add(&key) {
        return 0;
    }
    string(&mut new.operation, Some(subject.operation));
    string(&mut new.name, Some(subject.name));
    const NOEXIST: u64 = 1;
    // Another CPU may have been first.
    if TALLIES.insert(&key, &*new, NOEXIST).is_err() && !add(&key) {
        if let Some(full) = COUNTERS.get_ptr_mut(counter::TALLIES_FULL) {
            increment(full);
        }
    }
    0
}

#[inline(always)]
fn add(key: &TallyKey) -> bool {
    let Some(tally) = TALLIES.get_ptr_mut(key) else { return false };
    // SAFETY: an entry of the map; the agent removes none of an epoch that a run can still be in.
    increment(unsafe { &raw mut (*tally).count });
    true
}

/// Adds one to a word of a map that others add to at the same time. `core` has no atomic addition for this target.
#[inline(always)]
fn increment(word: *mut u64) {
    // SAFETY: an aligned word of a map's value.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) 1_u64) };
}

/// Copies a kernel string, and clears what is behind it.
#[inline(always)]
fn string<const N: usize>(to: &mut [u8; N], address: Option<u64>) {
    *to = [0; N];
    if let Some(address) = address.filter(|address| *address != 0) {
        // SAFETY: `to` is writable for its length; the helper checks the source.
        let _failed =
            unsafe { bpf_probe_read_kernel_str(to.as_mut_ptr().cast(), N as u32, address as *const _) };
    }
}

/// Multiply and rotate, a word at a time. A collision counts two profiles as one; both are chosen by who
/// loads policy.
#[inline(always)]
fn hash<const N: usize>(text: &[u8; N], seed: u64) -> u64 {
    let words = text.as_ptr().cast::<u64>();
    let mut hash = seed;
    let mut i = 0;
    while i < N / 8 {
        // SAFETY: inside of `text`, which the assertions on `Tally` keep aligned. Volatile: read ahead, the words
        // would be spilled, and the stack has 512 bytes.
        let word = unsafe { words.add(i).read_volatile() };
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        i += 1;
    }
    hash
}
