//! One program a signature: which one fits, the agent reads from the names of the parameters in BTF. An
//! argument index that is only known at load time is refused by most verifiers.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{fexit, kprobe};
use aya_ebpf::programs::{FExitContext, ProbeContext};

use aa_monitor_ebpf::{ABSENT, CLASS_UNKNOWN, reason};

use super::{Subject, What, reported, tally};
use crate::read::{at, layout};

const AA_CLASS_FILE: u16 = 2;
const AA_CLASS_CAP: u16 = 3;
const AA_CLASS_MOUNT: u16 = 7;
const CAP_OPT_NOAUDIT: u32 = 1 << 1;
const EPERM: i32 = -1;
const EACCES: i32 = -13;

/// `aa_audit_file(cred, profile, perms, op, request, name, target, tlabel, ouid, info, error)`, from 6.7.
#[fexit(function = "aa_audit_file")]
fn silent_file_cred_fexit(ctx: FExitContext) -> u32 {
    if ctx.arg::<u64>(10) as i32 != 0 && ctx.ret::<i32>().unwrap_or(0) != 0 {
        let subject = Subject { profile: ctx.arg(1), operation: ctx.arg(3), name: ctx.arg(5) };
        file(subject, ctx.arg(2), ctx.arg::<u64>(4) as u32);
    }
    0
}

#[inline(always)]
fn file(subject: Subject, perms: u64, request: u32) {
    if reported(|r| {
        r.operation == subject.operation && r.name == subject.name && r.profile == subject.profile
    }) || goes_on(subject)
    {
        return;
    }
    let reason = why(perms, request);
    tally(subject, What { class: AA_CLASS_FILE, family: 0, capability: -1, reason });
}

/// Complain mode runs a program that a rule refuses, under a learning profile (`profile_transition`,
/// security/apparmor/domain.c), whatever is returned here.
#[inline(always)]
fn goes_on(subject: Subject) -> bool {
    const COMPLAIN: i32 = 1;
    at::<i32>(subject.profile, layout!(profile_mode)) == Some(COMPLAIN)
        && at::<[u8; 4]>(subject.operation, 0) == Some(*b"exec")
}

/// Whether the rules themselves keep the denial quiet.
#[inline(always)]
fn why(perms: u64, request: u32) -> u8 {
    let quiet: u32 = at(perms, layout!(perms_quiet)).unwrap_or(0);
    if request & quiet != 0 { reason::QUIET_RULE } else { reason::AUDIT_MODE }
}

/// `aa_audit_file(profile, perms, op, request, name, target, tlabel, ouid, info, error)`, up to 6.6: more
/// arguments than its trampolines take. At entry the result is not known; the rules are, and they decide. The
/// stack is read as x86-64 lays it out, and on other machines the agent does not load this.
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
    let (profile, perms, request) = (arg(0), arg(1), arg(3) as u32);
    let allow: u32 = at(perms, layout!(perms_allow)).unwrap_or(0);
    let quiet: u32 = at(perms, layout!(perms_quiet)).unwrap_or(0);
    let mode: i32 = at(profile, layout!(profile_audit)).unwrap_or(0);
    // enum audit_mode up to 6.6: AUDIT_NOQUIET and AUDIT_ALL report what rules keep quiet.
    const NOQUIET: i32 = 3;
    let denied = request & !allow;
    if mode < NOQUIET && denied & !quiet == 0 {
        let what = What { class: AA_CLASS_FILE, family: 0, capability: -1, reason: reason::QUIET_RULE };
        let subject = Subject { profile, operation: arg(2), name: arg(4) };
        if !goes_on(subject) {
            tally(subject, what);
        }
    }
    0
}

/// `aa_check_perms(profile, perms, request, sa or ad, cb)`: networks, unix, signals, tracing and more.
#[fexit(function = "aa_check_perms")]
fn silent_check_fexit(ctx: FExitContext) -> u32 {
    if ctx.arg::<u64>(5) as i32 != 0 {
        check(ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(2) as u32, ctx.arg(3));
    }
    0
}

#[inline(always)]
fn check(profile: u64, perms: u64, request: u32, data: u64) {
    // The structure with the class embeds the other one; without, the other one points to it.
    let unclassed = layout!(ad_class) == ABSENT;
    let (ad, cad) = match unclassed {
        true => (at(data, layout!(cad_ad)).unwrap_or(0), data),
        false => (data, data + u64::from(layout!(ad_common))),
    };
    let class: u16 = at(ad, layout!(ad_class)).unwrap_or(CLASS_UNKNOWN);
    if class == AA_CLASS_CAP {
        return;
    }
    let operation: u64 = at(ad, layout!(ad_op)).unwrap_or(0);
    if reported(|r| r.operation == operation && r.profile == profile) {
        return;
    }
    const NET: u16 = 14;
    const NETV9: u16 = 15;
    let family = if unclassed || class == NET || class == NETV9 {
        let net: u64 = at(cad, layout!(cad_u)).unwrap_or(0);
        at(net, layout!(net_family)).unwrap_or(0)
    } else {
        0
    };
    let subject = Subject { profile, operation, name: at(ad, layout!(ad_name)).unwrap_or(0) };
    tally(subject, What { class, family, capability: -1, reason: why(perms, request) });
}

/// `aa_capable(label, cap, opts)`, up to 6.6.
#[fexit(function = "aa_capable")]
fn silent_capable_fexit(ctx: FExitContext) -> u32 {
    if ctx.arg::<u64>(3) as i32 != 0 {
        capable(ctx.arg(0), ctx.arg::<u64>(1) as i32, ctx.arg::<u64>(2) as u32);
    }
    0
}

/// `aa_capable(cred, label, cap, opts)`, from 6.7.
#[fexit(function = "aa_capable")]
fn silent_capable_cred_fexit(ctx: FExitContext) -> u32 {
    if ctx.arg::<u64>(4) as i32 != 0 {
        capable(ctx.arg(1), ctx.arg::<u64>(2) as i32, ctx.arg::<u64>(3) as u32);
    }
    0
}

#[inline(always)]
fn capable(label: u64, capability: i32, options: u32) {
    if reported(|r| r.capability == capability) {
        return;
    }
    let reason = if options & CAP_OPT_NOAUDIT != 0 { reason::NO_AUDIT } else { reason::CAPABILITY };
    let subject = Subject { profile: at(label, layout!(label_vec)).unwrap_or(0), operation: 0, name: 0 };
    tally(subject, What { class: AA_CLASS_CAP, family: 0, capability, reason });
}

/// Mounts decide in functions that compilers inline; their callers know the label and the result.
macro_rules! mounts {
    ($($letters:literal $label:literal $program:ident $function:literal)*) => {$(
        #[fexit(function = $function)]
        fn $program(ctx: FExitContext) -> u32 {
            let result = ctx.ret::<i32>().unwrap_or(0);
            if result == EACCES || result == EPERM {
                mount(ctx.arg($label), *$letters);
            }
            0
        }
    )*};
}

mounts! {
    b"mo" 0 silent_new_mount_fexit "aa_new_mount"
    b"mo" 1 silent_new_mount_cred_fexit "aa_new_mount"
    b"mo" 0 silent_bind_mount_fexit "aa_bind_mount"
    b"mo" 1 silent_bind_mount_cred_fexit "aa_bind_mount"
    b"mo" 0 silent_remount_fexit "aa_remount"
    b"mo" 1 silent_remount_cred_fexit "aa_remount"
    b"mo" 0 silent_mount_type_fexit "aa_mount_change_type"
    b"mo" 1 silent_mount_type_cred_fexit "aa_mount_change_type"
    b"um" 0 silent_umount_fexit "aa_umount"
    b"um" 1 silent_umount_cred_fexit "aa_umount"
}

#[inline(always)]
fn mount(label: u64, letters: [u8; 2]) {
    if reported(|r| r.letters == letters) {
        return;
    }
    let subject = Subject { profile: at(label, layout!(label_vec)).unwrap_or(0), operation: 0, name: 0 };
    tally(subject, What { class: AA_CLASS_MOUNT, family: 0, capability: -1, reason: reason::QUIET_RULE });
}
