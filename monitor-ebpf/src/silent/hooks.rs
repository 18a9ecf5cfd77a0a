//! One program a signature: which one fits, the agent reads from the names of the parameters in BTF. An
//! argument index that is only known at load time is refused by most verifiers.
//!
//! Nearly all runs are for what is allowed, so a program is a comparison and a call: what follows on a denial is a
//! function of its own, whose registers need not be saved by those that do not call it.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{fentry, fexit, kprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext};

use aa_monitor_ebpf::{ABSENT, CLASS_UNKNOWN, audit_mode, reason, setting};

use super::{LSM_AUDIT_DATA_CAP, Side, Subject, What, desk, is_set, meet, reported, set, tally};
use crate::read::{Known, at, layout};

const AA_CLASS_FILE: u16 = 2;
const AA_CLASS_CAP: u16 = 3;
const AA_CLASS_MOUNT: u16 = 7;
const CAP_OPT_NOAUDIT: u32 = 1 << 1;
const EPERM: i32 = -1;
const EACCES: i32 = -13;
/// How the operations of mounts begin that have hooks of their own.
const MOUNTS: [[u8; 2]; 2] = [*b"mo", *b"um"];

/// `aa_audit_file(cred, profile, perms, op, request, name, target, tlabel, ouid, info, error)`, from 6.7.
///
/// At entry, because a trampoline that also waits for the return takes a third more: what is denied is an
/// argument, and the rules decide whether it is reported.
#[fentry(function = "aa_audit_file")]
fn silent_file_cred_fentry(ctx: FEntryContext) -> u32 {
    if is_set(ctx.arg(10)) { file_cred_denied(ctx.as_ptr()) } else { 0 }
}

#[inline(never)]
fn file_cred_denied(ctx: *mut c_void) -> u32 {
    let ctx = FEntryContext::new(ctx);
    let subject = Subject { profile: ctx.arg(1), operation: ctx.arg(3), name: ctx.arg(5) };
    file(subject, ctx.arg(2), ctx.arg::<u64>(4) as u32)
}

/// `aa_audit_file(profile, perms, op, request, name, target, tlabel, ouid, info, error)`, up to 6.6: more
/// arguments than its trampolines take. The stack is read as x86-64 lays it out, and on other machines the agent
/// does not load this.
#[kprobe]
fn silent_file_kprobe(ctx: ProbeContext) -> u32 {
    // struct pt_regs; the seventh argument is above the return address.
    const SP: usize = 19;
    const R9_ARGUMENTS: u64 = 8;
    const ERROR: u64 = 9 - 6;
    let registers = ctx.as_ptr().cast::<u64>();
    // SAFETY: inside of pt_regs, which is the context.
    let sp = unsafe { *registers.add(SP) };
    // SAFETY: the helper checks the address.
    let error = unsafe { bpf_probe_read_kernel((sp + R9_ARGUMENTS + 8 * ERROR) as *const i32) }.unwrap_or(0);
    if error == 0 {
        return 0;
    }
    let arg = |n| ctx.arg::<u64>(n).unwrap_or(0);
    file(Subject { profile: arg(0), operation: arg(2), name: arg(4) }, arg(1), arg(3) as u32)
}

/// A denial of a file, of which `aa_audit_file` returns the error without a word when rules keep all of it
/// quiet. What else is not reported, [`silent_audit_fexit`] sees.
#[inline(always)]
fn file(subject: Subject, perms: u64, request: u32) -> u32 {
    let allow: u32 = at(perms, layout!(perms_allow)).unwrap_or(0);
    let quiet: u32 = at(perms, layout!(perms_quiet)).unwrap_or(0);
    if request & !allow & !quiet != 0 || told_all_the_same(subject.profile) || goes_on(subject) {
        return 0;
    }
    let reason = reason::QUIET_RULE;
    tally(
        desk::FILE,
        subject,
        What { class: AA_CLASS_FILE, family: 0, capability: -1, reason, side: Side::Own },
    )
}

/// Whether the audit mode has told what rules keep quiet: the kernel's, or where that is normal the profile's
/// (`AUDIT_MODE`, security/apparmor/include/policy.h).
#[inline(always)]
fn told_all_the_same(profile: u64) -> bool {
    match set(setting::AUDIT_MODE) {
        audit_mode::PROFILE => {
            let mode: u32 = at(profile, layout!(profile_audit)).unwrap_or(0);
            mode >= u32::from(layout!(audit_noquiet))
        }
        mode => mode == audit_mode::LOUD,
    }
}

/// Complain mode runs a program that a rule refuses, under a learning profile (`profile_transition`,
/// security/apparmor/domain.c), whatever is returned here.
#[inline(always)]
fn goes_on(subject: Subject) -> bool {
    const COMPLAIN: i32 = 1;
    at::<i32>(subject.profile, layout!(profile_mode)) == Some(COMPLAIN)
        && at::<[u8; 4]>(subject.operation, 0) == Some(*b"exec")
}

/// `aa_check_perms(profile, perms, request, sa or ad, cb)`: networks, unix, signals, tracing and more. At entry:
/// the permissions alone decide, audit modes are in them (`aa_apply_modes_to_perms`).
#[fentry(function = "aa_check_perms")]
fn silent_check_fentry(ctx: FEntryContext) -> u32 {
    // `allow` is the first member; the agent makes sure. What a rule denies is not in it: the compiler of policies
    // takes it out, and files are decided by it alone.
    const ALLOW: u16 = 0;
    // A load instead of a call, because the verifier knows what the argument points to.
    let allow: u32 = Known::new(ctx.arg(1)).get(ALLOW).unwrap_or(0);
    if meet(ctx.arg(2), !u64::from(allow)) { check_denied(ctx.as_ptr()) } else { 0 }
}

#[inline(never)]
fn check_denied(ctx: *mut c_void) -> u32 {
    let ctx = FEntryContext::new(ctx);
    let perms = Known::new(ctx.arg(1));
    let allow: u32 = perms.get(layout!(perms_allow)).unwrap_or(0);
    let quiet: u32 = perms.get(layout!(perms_quiet)).unwrap_or(0);
    let denied = ctx.arg::<u64>(2) as u32 & !allow;
    check(ctx.arg(0), denied, denied & !quiet, ctx.arg(3))
}

/// The two halves of a record of this kernel's: AppArmor's, and the one of all security modules. The structure
/// with the class embeds the other one; without, the other one points to it.
#[inline(always)]
fn halves(data: u64) -> (u64, u64) {
    match layout!(ad_class) == ABSENT {
        true => (at(data, layout!(cad_ad)).unwrap_or(0), data),
        false => (data, data + u64::from(layout!(ad_common))),
    }
}

#[inline(always)]
fn check(profile: u64, denied: u32, loud: u32, data: u64) -> u32 {
    if loud != 0 && data != 0 {
        return 0;
    }
    let (ad, cad) = halves(data);
    let class: u16 = at(ad, layout!(ad_class)).unwrap_or(CLASS_UNKNOWN);
    if class == AA_CLASS_CAP {
        return 0;
    }
    let operation: u64 = at(ad, layout!(ad_op)).unwrap_or(0);
    const NET: u16 = 14;
    const NETV9: u16 = 15;
    let family = if layout!(ad_class) == ABSENT || class == NET || class == NETV9 {
        let net: u64 = at(cad, layout!(cad_u)).unwrap_or(0);
        at(net, layout!(net_family)).unwrap_or(0)
    } else {
        0
    };
    let subject = Subject { profile, operation, name: at(ad, layout!(ad_name)).unwrap_or(0) };
    let (reason, side) = (reason::QUIET_RULE, side(class, operation, denied));
    tally(desk::CHECK, subject, What { class, family, capability: -1, reason, side })
}

/// Whose profile it is that refuses: both sides of a signal or ptrace are asked, and the current task is the one
/// that acts (`aa_may_signal`, `aa_may_ptrace`).
#[inline(always)]
fn side(class: u16, operation: u64, denied: u32) -> Side {
    const AA_CLASS_PTRACE: u16 = 9;
    const AA_CLASS_SIGNAL: u16 = 10;
    // security/apparmor/include/ipc.h and perms.h.
    const RECEIVE: u32 = 1 << 2;
    const TRACED_OR_READ_BY: u32 = 1 << 3 | 1 << 4;
    let letters = match class {
        CLASS_UNKNOWN => at(operation, 0).unwrap_or([0; 2]),
        _ => [0; 2],
    };
    let suffers = if class == AA_CLASS_SIGNAL || letters == *b"si" {
        denied & RECEIVE
    } else if class == AA_CLASS_PTRACE || letters == *b"pt" {
        denied & TRACED_OR_READ_BY
    } else {
        0
    };
    if suffers == 0 { Side::Own } else { Side::Target }
}

/// `aa_audit(type, profile, sa or ad, cb)`: where a denial of a file or a limit comes that rules do not keep
/// quiet. One that ends without a record was kept from having one by the audit mode.
#[fexit(function = "aa_audit")]
fn silent_audit_fexit(ctx: FExitContext) -> u32 {
    // enum audit_type: not what is told of policies.
    const KILL: i32 = 6;
    const AUTO: i32 = 7;
    let kind = ctx.arg::<u64>(0) as i32;
    if is_set(ctx.arg(4)) && (kind == AUTO || kind == KILL) { unreported(ctx.arg(1), ctx.arg(2)) } else { 0 }
}

#[inline(always)]
fn unreported(profile: u64, data: u64) -> u32 {
    let (ad, cad) = halves(data);
    let operation: u64 = at(ad, layout!(ad_op)).unwrap_or(0);
    // Of these, the hooks of their own tell.
    let letters: [u8; 2] = at(operation, 0).unwrap_or([0; 2]);
    if at(cad, layout!(cad_type)) == Some(LSM_AUDIT_DATA_CAP) || MOUNTS.contains(&letters) {
        return 0;
    }
    let subject = Subject { profile, operation, name: at(ad, layout!(ad_name)).unwrap_or(0) };
    if reported(|r| r.operation == operation && r.name == subject.name && r.profile == profile)
        || goes_on(subject)
    {
        return 0;
    }
    let class = at(ad, layout!(ad_class)).unwrap_or(CLASS_UNKNOWN);
    let reason = reason::AUDIT_MODE;
    tally(desk::AUDIT, subject, What { class, family: 0, capability: -1, reason, side: Side::Own })
}

/// `aa_capable(label, cap, opts)`, up to 6.6. At its return: only there is it known what the cache has swallowed.
#[fexit(function = "aa_capable")]
fn silent_capable_fexit(ctx: FExitContext) -> u32 {
    if is_set(ctx.arg(3)) { capable_denied(ctx.as_ptr()) } else { 0 }
}

#[inline(never)]
fn capable_denied(ctx: *mut c_void) -> u32 {
    let ctx = FExitContext::new(ctx);
    capable(ctx.arg(0), ctx.arg::<u64>(1) as i32, ctx.arg::<u64>(2) as u32)
}

/// `aa_capable(cred, label, cap, opts)`, from 6.7.
#[fexit(function = "aa_capable")]
fn silent_capable_cred_fexit(ctx: FExitContext) -> u32 {
    if is_set(ctx.arg(4)) { capable_cred_denied(ctx.as_ptr()) } else { 0 }
}

#[inline(never)]
fn capable_cred_denied(ctx: *mut c_void) -> u32 {
    let ctx = FExitContext::new(ctx);
    capable(ctx.arg(1), ctx.arg::<u64>(2) as i32, ctx.arg::<u64>(3) as u32)
}

#[inline(always)]
fn capable(label: u64, capability: i32, options: u32) -> u32 {
    if reported(|r| r.capability == capability) {
        return 0;
    }
    let reason = if options & CAP_OPT_NOAUDIT != 0 { reason::NO_AUDIT } else { reason::CAPABILITY };
    let subject = Subject { profile: at(label, layout!(label_vec)).unwrap_or(0), operation: 0, name: 0 };
    let what = What { class: AA_CLASS_CAP, family: 0, capability, reason, side: Side::Own };
    tally(desk::CAPABLE, subject, what)
}

/// Mounts decide in functions that compilers inline; their callers know the label and the result.
macro_rules! mounts {
    ($($letters:literal $label:literal $desk:ident $program:ident $function:literal)*) => {$(
        #[fexit(function = $function)]
        fn $program(ctx: FExitContext) -> u32 {
            let result = ctx.ret::<i32>().unwrap_or(0);
            if result == EACCES || result == EPERM {
                mount(desk::$desk, ctx.arg($label), *$letters)
            } else {
                0
            }
        }
    )*};
}

mounts! {
    b"mo" 0 NEW_MOUNT silent_new_mount_fexit "aa_new_mount"
    b"mo" 1 NEW_MOUNT silent_new_mount_cred_fexit "aa_new_mount"
    b"mo" 0 BIND_MOUNT silent_bind_mount_fexit "aa_bind_mount"
    b"mo" 1 BIND_MOUNT silent_bind_mount_cred_fexit "aa_bind_mount"
    b"mo" 0 REMOUNT silent_remount_fexit "aa_remount"
    b"mo" 1 REMOUNT silent_remount_cred_fexit "aa_remount"
    b"mo" 0 MOUNT_TYPE silent_mount_type_fexit "aa_mount_change_type"
    b"mo" 1 MOUNT_TYPE silent_mount_type_cred_fexit "aa_mount_change_type"
    b"um" 0 UMOUNT silent_umount_fexit "aa_umount"
    b"um" 1 UMOUNT silent_umount_cred_fexit "aa_umount"
}

#[inline(always)]
fn mount(desk: u32, label: u64, letters: [u8; 2]) -> u32 {
    if reported(|r| r.letters == letters) {
        return 0;
    }
    let subject = Subject { profile: at(label, layout!(label_vec)).unwrap_or(0), operation: 0, name: 0 };
    let reason = reason::QUIET_RULE;
    tally(desk, subject, What { class: AA_CLASS_MOUNT, family: 0, capability: -1, reason, side: Side::Own })
}
