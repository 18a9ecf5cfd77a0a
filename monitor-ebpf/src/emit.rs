//! From a `common_audit_data` to a record in the ring.
//!
//! The kernel's structures are copied whole, with one read each, and taken apart in the scratch area:
//! reading kernel memory costs a helper call, reading the scratch area one instruction.

use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_ringbuf_output,
};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};

use aa_monitor_ebpf::{
    ABSENT, AD_MAX, Header, KIND_VIOLATION, LEN_ABSENT, LENS_WORDS, NET_BYTES, Net, STRINGS_MAX, Slot,
    TRUNCATED, WIRE_VERSION, counter,
};

use crate::read::Word;
use crate::read::{at, bytes, current, layout};
use crate::tellers::SCRATCH;
use crate::{EVENTS, count, share, stamps, wake, who};

/// `struct common_audit_data` up to its last member, on every kernel.
const CAD_BYTES: usize = 32;
/// `struct lsm_network_audit`: 56 bytes.
const NET_AUDIT_BYTES: usize = 64;
/// The members of `struct sock_common` up to the IPv6 addresses.
const SOCK_BYTES: usize = 96;

/// `struct aa_profile` up to its namespace.
const PROFILE_BYTES: usize = 64;

/// The root policy namespace, once a profile of it was seen: it lasts as long as the kernel.
#[unsafe(no_mangle)]
static ROOT_NS: Word = Word::ZERO;

/// Where one record is put together.
#[repr(C)]
pub(crate) struct Scratch {
    ad: [u8; AD_MAX],
    cad: [u8; CAD_BYTES],
    net_audit: [u8; NET_AUDIT_BYTES],
    sock: [u8; SOCK_BYTES],
    comm: [u64; 2],
    profile: [u8; PROFILE_BYTES],
    header: Header,
    strings: [u8; STRINGS_MAX],
}

/// No target, and the lengths of a record without strings. Read where they are used, because what the compiler knows
/// to be alike it would fill in with a call and a loop over bytes.
static NO_TARGET: u64 = 0;
static NO_STRINGS: [u64; LENS_WORDS] = [u64::MAX; LENS_WORDS];

// linux/lsm_audit.h
const LSM_AUDIT_DATA_NET: u8 = 2;
const LSM_AUDIT_DATA_CAP: u8 = 3;
const LSM_AUDIT_DATA_TASK: u8 = 5;
const LSM_AUDIT_DATA_NONE: u8 = 7;

// security/apparmor/include/apparmor.h
const AA_CLASS_FILE: u16 = 2;
const AA_CLASS_MOUNT: u16 = 7;
const AA_CLASS_NET: u16 = 14;
const AA_CLASS_NETV9: u16 = 15;
const CLASS_UNKNOWN: u16 = u16::MAX;

// security/apparmor/include/audit.h, enum audit_type
const AUDIT_APPARMOR_STATUS: i32 = 4;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_UNIX: u16 = 1;

/// Reads a `T` out of bytes that were copied from the kernel; `None` when the kernel has no such member or
/// it lies outside of what was copied.
#[inline(always)]
fn member<T: Copy, const N: usize>(copy: *const [u8; N], offset: u16) -> Option<T> {
    if offset == ABSENT || offset as usize + size_of::<T>() > N {
        return None;
    }
    // SAFETY: inside the copy, as just checked. The copies are aligned like the kernel's structures, and a
    // member of those like its type; were it not so, this machine would load it all the same. A read that
    // the compiler takes for unaligned is made of a load for each byte.
    Some(unsafe { copy.cast::<u8>().add(offset as usize).cast::<T>().read() })
}

/// Appends strings to the record.
struct Packer {
    header: *mut Header,
    strings: *mut u8,
    used: u64,
}

impl Packer {
    /// Notes the length of a slot.
    #[inline(always)]
    fn set_len(&mut self, slot: Slot, len: u16) {
        // SAFETY: the header is in this CPU's scratch area, and `lens` has an entry for each slot.
        unsafe { (&raw mut (*self.header).lens).cast::<u16>().add(slot as usize).write(len) };
    }

    /// Appends the NUL-terminated kernel string at `address`.
    #[inline(always)]
    fn string(&mut self, slot: Slot, address: Option<u64>) {
        let Some(address) = address.filter(|address| *address != 0) else {
            return self.set_len(slot, LEN_ABSENT);
        };
        let max = slot.max() as u64;
        // SAFETY: `used` is at most the sum of the slots before this one, so `max` bytes remain.
        let read = unsafe {
            let to = self.strings.add(self.used as usize);
            bpf_probe_read_kernel_str(to.cast(), max as u32, address as *const _)
        } as u64;
        // The NUL is not sent: the next slot overwrites it. A failed read is negative, which seen unsigned
        // is larger than any length; one comparison after the subtraction is what 6.1's verifier follows.
        let len = read.wrapping_sub(1);
        if len >= max {
            return self.set_len(slot, LEN_ABSENT);
        }
        if len == max - 1 {
            // SAFETY: the header is in this CPU's scratch area.
            unsafe { (*self.header).flags |= TRUNCATED };
        }
        self.set_len(slot, len as u16);
        self.used += len;
    }

    /// Appends `len` bytes at `address`, at most what the slot takes.
    #[inline(always)]
    fn raw(&mut self, slot: Slot, address: Option<u64>, len: i32) {
        self.set_len(slot, LEN_ABSENT);
        let max = slot.max() as u64;
        let Some(address) = address.filter(|address| *address != 0) else { return };
        let len = len as u64;
        if len == 0 || len > max {
            return;
        }
        // SAFETY: `used` is at most the sum of the slots before this one, so `max` bytes remain.
        let failed = unsafe {
            let to = self.strings.add(self.used as usize);
            bpf_probe_read_kernel(to.cast(), len as u32, address as *const _)
        };
        if failed == 0 {
            self.set_len(slot, len as u16);
            self.used += len;
        }
    }
}

/// Sends the record of one AppArmor event; returns its length, 0 when it was not sent. `teller` is the number
/// of the program that does it, which has a scratch area of its own.
#[inline(always)]
pub(crate) fn violation(cad_address: u64, teller: u32) -> u64 {
    count(counter::SEEN);
    crate::silent::note(cad_address);
    // SAFETY: no arguments.
    let (cgroup_id, boottime) = (who::current_cgroup(), unsafe { bpf_ktime_get_boot_ns() });
    if share::used_up(cgroup_id, boottime) {
        count(counter::OVER_SHARE);
        stamps::take(cad_address, |_| {});
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(teller) else { return unreadable() };
    // SAFETY: the map's value on this CPU, which no other program run uses at the same time.
    let (ad, cad, header, strings) = unsafe {
        (
            &raw mut (*scratch).ad,
            &raw mut (*scratch).cad,
            &raw mut (*scratch).header,
            &raw mut (*scratch).strings,
        )
    };

    // SAFETY: `cad` is writable for its length.
    if !bytes(cad_address, unsafe { &mut *cad }) {
        return unreadable();
    }
    let cad_type: u8 = member(cad, layout!(cad_type)).unwrap_or(0);
    let object: u64 = member(cad, layout!(cad_u)).unwrap_or(0);
    let ad_address: u64 = member(cad, layout!(cad_ad)).unwrap_or(0);
    let ad_size = layout!(ad_size);
    if ad_address == 0 || ad_size as usize > AD_MAX {
        return unreadable();
    }
    // SAFETY: `ad` is writable for AD_MAX bytes, and `ad_size` is not more.
    if unsafe { bpf_probe_read_kernel(ad.cast(), u32::from(ad_size), ad_address as *const _) } != 0 {
        return unreadable();
    }

    let class: u16 = member(ad, layout!(ad_class)).unwrap_or(CLASS_UNKNOWN);
    let verdict: i32 = member(ad, layout!(ad_type)).unwrap_or(-1);
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: `header` is in the scratch area; every field is written, so nothing of an earlier record is
    // left in it.
    unsafe {
        header.write(Header {
            version: WIRE_VERSION,
            kind: KIND_VIOLATION,
            flags: 0,
            verdict,
            class,
            cad_type,
            pad: 0,
            error: member(ad, layout!(ad_error)).unwrap_or(0),
            request: member(ad, layout!(ad_request)).unwrap_or(0),
            denied: member(ad, layout!(ad_denied)).unwrap_or(0),
            tgid: (thread >> 32) as u32,
            tid: thread as u32,
            fsuid: u32::MAX,
            ouid: u32::MAX,
            capability: if cad_type == LSM_AUDIT_DATA_CAP { object as i32 } else { -1 },
            signal: member(ad, layout!(ad_signal)).unwrap_or(-1),
            unmappedsig: member(ad, layout!(ad_unmappedsig)).unwrap_or(-1),
            sock_type: member(ad, layout!(ad_net_type)).unwrap_or(-1),
            protocol: member(ad, layout!(ad_net_protocol)).unwrap_or(-1),
            rlimit: member(ad, layout!(ad_rlim)).unwrap_or(-1),
            rlimit_max: member(ad, layout!(ad_rlim_max)).unwrap_or(u64::MAX),
            mount_flags: member(ad, layout!(ad_mnt_flags)).unwrap_or(0),
            cgroup_id,
            start_boottime: start_boottime(thread),
            boottime,
            target_cgroup_id: (&raw const NO_TARGET).read_volatile(),
            target_start_boottime: (&raw const NO_TARGET).read_volatile(),
            target_tgid: (&raw const NO_TARGET).read_volatile(),
            comm: comm(scratch),
            lens: (&raw const NO_STRINGS).read_volatile(),
        });
    }

    let mut pack = Packer { header, strings: strings.cast(), used: 0 };
    pack.string(Slot::Operation, member(ad, layout!(ad_op)));
    // SAFETY: the operation is at the start of `strings`, which is longer than two bytes.
    let op: [u8; 2] = unsafe { strings.cast::<[u8; 2]>().read() };
    // signal, ptrace
    if op == *b"si" || op == *b"pt" {
        target(header, thread);
    }
    stamps::take(cad_address, |stamp| pack.raw(Slot::Stamp, Some(stamp), Slot::Stamp.max() as i32));
    subject(&mut pack, scratch, ad);
    pack.string(Slot::Name, member(ad, layout!(ad_name)));
    pack.string(Slot::Info, member(ad, layout!(ad_info)));

    // Up to 6.6 a record has no class: the kind of object and the operation's first letters
    // (mount, umount, pivot_root) tell which half of the union is in use.
    let unclassed = class == CLASS_UNKNOWN;
    let mounting =
        unclassed && cad_type == LSM_AUDIT_DATA_NONE && (op == *b"mo" || op == *b"um" || op == *b"pi");
    if class == AA_CLASS_MOUNT || mounting {
        pack.string(Slot::Target, member(ad, layout!(ad_mnt_src_name)));
        pack.string(Slot::Fstype, member(ad, layout!(ad_mnt_type)));
        pack.string(Slot::Trans, member(ad, layout!(ad_mnt_trans)));
        pack.string(Slot::Options, member(ad, layout!(ad_mnt_data)));
    } else if verdict == AUDIT_APPARMOR_STATUS {
        pack.string(Slot::Target, member(ad, layout!(ad_iface_ns)));
    } else {
        peer(&mut pack, ad);
        if class == AA_CLASS_FILE || (unclassed && cad_type == LSM_AUDIT_DATA_TASK) {
            pack.string(Slot::Target, member(ad, layout!(ad_fs_target)));
            // SAFETY: `header` is in the scratch area.
            unsafe {
                (*header).ouid = member(ad, layout!(ad_fs_ouid)).unwrap_or(u32::MAX);
                (*header).fsuid = fsuid(member(ad, layout!(ad_subj_cred)));
            }
        } else if object != 0
            && (cad_type == LSM_AUDIT_DATA_NET
                || class == AA_CLASS_NET
                || class == AA_CLASS_NETV9
                || (unclassed && cad_type == LSM_AUDIT_DATA_NONE))
        {
            network(&mut pack, scratch, object);
        }
    }

    let len = size_of::<Header>() as u64 + pack.used;
    // SAFETY: `header` is followed by `strings`, of which `used` bytes are filled. aya's map is
    // `repr(transparent)` over the definition that the helper wants; its own `output` takes only sizes
    // known at compile time.
    let failed = unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), header.cast(), len, wake::flags())
    };
    if failed != 0 {
        count(counter::RING_FULL);
        return 0;
    }
    len
}

/// Counts a violation whose record cannot be read.
#[inline(always)]
fn unreadable() -> u64 {
    count(counter::UNREADABLE);
    0
}

/// Adds the process that is signalled or traced.
#[inline(always)]
fn target(header: *mut Header, thread: u64) {
    let task = who::target(thread);
    if task == 0 {
        return;
    }
    // SAFETY: `header` is in this CPU's scratch area.
    unsafe {
        (*header).target_tgid = u64::from(at::<u32>(task, layout!(task_tgid)).unwrap_or(0));
        (*header).target_cgroup_id = who::cgroup(task);
        (*header).target_start_boottime = who::start_boottime(task);
    }
}

/// Profile and namespace: AppArmor reports each failing profile of a stack by itself, so the first of the
/// label is the one.
#[inline(always)]
fn subject(pack: &mut Packer, scratch: *mut Scratch, ad: *const [u8; AD_MAX]) {
    let label: u64 = member(ad, layout!(ad_subj_label)).or(member(ad, layout!(ad_label))).unwrap_or(0);
    let profile: u64 = at(label, layout!(label_vec)).unwrap_or(0);
    // Name and namespace lie next to each other: one read brings both.
    // SAFETY: this CPU's scratch area.
    let base = unsafe { &raw mut (*scratch).profile };
    // SAFETY: `base` is writable for its length.
    if profile == 0 || !bytes(profile, unsafe { &mut *base }) {
        return;
    }
    pack.string(Slot::Profile, member(base, layout!(profile_hname)));
    let ns: u64 = member(base, layout!(profile_ns)).unwrap_or(0);
    // SAFETY: one aligned word, and the same one whoever writes it.
    if ns == unsafe { ROOT_NS.get().read_volatile() } {
        return;
    }
    let level: i32 = at(ns, layout!(ns_level)).unwrap_or(0);
    if level != 0 {
        pack.string(Slot::Namespace, at(ns, layout!(ns_hname)));
    } else {
        // SAFETY: as above.
        unsafe { ROOT_NS.get().write_volatile(ns) };
    }
}

/// The other side's label; a compound label that was never printed has no name yet, so its first profile's
/// is taken.
#[inline(always)]
fn peer(pack: &mut Packer, ad: *const [u8; AD_MAX]) {
    let label: u64 = member(ad, layout!(ad_peer)).unwrap_or(0);
    if label == 0 {
        return;
    }
    let mut name: u64 = at(label, layout!(label_hname)).unwrap_or(0);
    if name == 0 {
        let profile: u64 = at(label, layout!(label_vec)).unwrap_or(0);
        name = at(profile, layout!(profile_hname)).unwrap_or(0);
    }
    pack.string(Slot::Peer, Some(name));
}

/// Socket addresses: those of the request, and those of the socket when there is one.
#[inline(always)]
fn network(pack: &mut Packer, scratch: *mut Scratch, net_address: u64) {
    // SAFETY: this CPU's scratch area.
    let (ad, net, sock) =
        unsafe { (&raw const (*scratch).ad, &raw mut (*scratch).net_audit, &raw mut (*scratch).sock) };
    // SAFETY: `net` is writable for its length.
    if !bytes(net_address, unsafe { &mut *net }) {
        return;
    }
    let family: u16 = member(net, layout!(net_family)).unwrap_or(0);
    let mut out = Net {
        family,
        sk_family: 0,
        sport: member(net, layout!(net_sport)).unwrap_or(0),
        dport: member(net, layout!(net_dport)).unwrap_or(0),
        lport: 0,
        fport: 0,
        saddr: [0; 16],
        daddr: [0; 16],
        laddr: [0; 16],
        faddr: [0; 16],
    };
    if family == AF_INET6 {
        out.saddr = member(net, layout!(net_v6_saddr)).unwrap_or([0; 16]);
        out.daddr = member(net, layout!(net_v6_daddr)).unwrap_or([0; 16]);
    } else if family == AF_INET {
        put_v4(&mut out.saddr, member(net, layout!(net_v4_saddr)));
        put_v4(&mut out.daddr, member(net, layout!(net_v4_daddr)));
    }
    let sk: u64 = member(net, layout!(net_sk)).unwrap_or(0);
    // SAFETY: `sock` is writable for its length.
    if sk != 0 && bytes(sk, unsafe { &mut *sock }) {
        out.sk_family = member(sock, layout!(skc_family)).unwrap_or(0);
        out.lport = member(sock, layout!(skc_num)).unwrap_or(0);
        out.fport = member(sock, layout!(skc_dport)).unwrap_or(0);
        if out.sk_family == AF_INET6 {
            out.laddr = member(sock, layout!(skc_v6_rcv_saddr)).unwrap_or([0; 16]);
            out.faddr = member(sock, layout!(skc_v6_daddr)).unwrap_or([0; 16]);
        } else if out.sk_family == AF_INET {
            put_v4(&mut out.laddr, member(sock, layout!(skc_rcv_saddr)));
            put_v4(&mut out.faddr, member(sock, layout!(skc_daddr)));
        }
    }
    if family == AF_UNIX {
        let len: i32 = member(ad, layout!(ad_net_addrlen)).unwrap_or(0);
        pack.raw(Slot::UnixAddr, member(ad, layout!(ad_net_addr)), len);
        let len: i32 = member(ad, layout!(ad_net_peer_addrlen)).unwrap_or(0);
        pack.raw(Slot::UnixPeerAddr, member(ad, layout!(ad_net_peer_addr)), len);
    }
    pack.raw(Slot::Net, Some((&raw const out) as u64), NET_BYTES as i32);
}

#[inline(always)]
fn put_v4(to: &mut [u8; 16], from: Option<[u8; 4]>) {
    if let Some([a, b, c, d]) = from {
        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
    }
}

/// The thread's comm.
#[inline(always)]
fn comm(scratch: *mut Scratch) -> [u64; 2] {
    // SAFETY: this CPU's scratch area; the helper fills it, with zeros when it fails.
    unsafe {
        let to = &raw mut (*scratch).comm;
        bpf_get_current_comm(to.cast(), size_of::<[u64; 2]>() as u32);
        to.read()
    }
}

/// When the current process started; its leader's start, because threads start later.
#[inline(always)]
fn start_boottime(thread: u64) -> u64 {
    let task = current();
    if (thread >> 32) as u32 == thread as u32 {
        return task.get(layout!(task_start_boottime)).unwrap_or(0);
    }
    let leader: u64 = task.get(layout!(task_group_leader)).unwrap_or(0);
    at(leader, layout!(task_start_boottime)).unwrap_or(0)
}

/// The file system uid that was checked: the record's credentials, or the task's where it has none.
#[inline(always)]
fn fsuid(subj_cred: Option<u64>) -> u32 {
    let own: Option<u64> = current().get(layout!(task_cred));
    match subj_cred {
        Some(cred) if cred != 0 && Some(cred) != own => at(cred, layout!(cred_fsuid)),
        _ => current().follow(layout!(task_cred)).and_then(|cred| cred.get(layout!(cred_fsuid))),
    }
    .unwrap_or(u32::MAX)
}
