//! From the eBPF programs' records to a [`Violation`]: the kernel's numbers become the kernel's words, so
//! that a violation reads the same whichever source brought it.

use std::net::{Ipv4Addr, Ipv6Addr};

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use aa_monitor_ebpf::{
    CgroupHeader, Header, KIND_CGROUP_MADE, KIND_CGROUP_REMOVED, KIND_VIOLATION, LEN_ABSENT, Net, Slot,
    TRUNCATED, WIRE_VERSION,
};

use super::class::classify;
use super::parse::split_stamp;
use super::violation::{AuditId, Class, Origin, Target, Task, Verdict, Violation};
use super::words;

/// Why a wire record is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than its header, or than its lengths say.
    #[error("truncated")]
    Truncated,
    /// Written by programs of another version of the agent.
    #[error("wire version {found}, this agent reads {WIRE_VERSION}")]
    Version {
        /// The version in the record.
        found: u16,
    },
    /// A kind of record that this version does not have.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// An `enum audit_type` that this version does not know.
    #[error("unknown verdict {0}")]
    Verdict(i32),
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A cgroup that was made or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupChange<'a> {
    /// The inode number of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy.
    pub path: &'a [u8],
    /// Whether it is gone.
    pub gone: bool,
}

/// Decodes a record of the ring that is about a cgroup; `None` when it is about a violation.
pub fn decode_cgroup(raw: &[u8]) -> Result<Option<CgroupChange<'_>>, WireError> {
    let gone = match raw.get(2) {
        Some(&KIND_CGROUP_MADE) => false,
        Some(&KIND_CGROUP_REMOVED) => true,
        _ => return Ok(None),
    };
    let (header, path) = raw.split_at_checked(size_of::<CgroupHeader>()).ok_or(WireError::Truncated)?;
    let header: CgroupHeader = bytemuck::pod_read_unaligned(header);
    if header.version != WIRE_VERSION {
        return Err(WireError::Version { found: header.version });
    }
    Ok(Some(CgroupChange { id: header.id, path, gone }))
}

/// The audit stamp of a violation's record, without reading the rest of it.
pub fn wire_stamp(raw: &[u8]) -> Option<AuditId> {
    let (header, strings) = raw.split_at_checked(size_of::<Header>())?;
    let header: Header = bytemuck::pod_read_unaligned(header);
    if (header.version, header.kind) != (WIRE_VERSION, KIND_VIOLATION) {
        return None;
    }
    let slots = unpack(&header, strings).ok()?;
    slots.get(Slot::Stamp as usize).copied().flatten().and_then(split_stamp).map(|(stamp, _)| stamp)
}

/// Decodes one record of the ring. `wall_minus_boot` is what has to be added to the kernel's boot time to
/// get nanoseconds since the epoch.
pub fn decode_wire<'a>(
    raw: &'a [u8],
    wall_minus_boot: u64,
    arena: &'a Bump,
) -> Result<Violation<'a>, WireError> {
    let (header, strings) = raw.split_at_checked(size_of::<Header>()).ok_or(WireError::Truncated)?;
    let header: Header = bytemuck::pod_read_unaligned(header);
    if header.version != WIRE_VERSION {
        return Err(WireError::Version { found: header.version });
    }
    if header.kind != KIND_VIOLATION {
        return Err(WireError::Kind(header.kind));
    }
    let slots = unpack(&header, strings)?;
    let get = |slot: Slot| slots.get(slot as usize).copied().flatten();
    let operation = get(Slot::Operation).unwrap_or_default();
    let net: Option<Net> =
        get(Slot::Net).filter(|bytes| bytes.len() == size_of::<Net>()).map(bytemuck::pod_read_unaligned);

    let mut v = Violation::new(verdict(&header)?, Class::Other, Origin::Ebpf, operation);
    v.audit_id = get(Slot::Stamp).and_then(split_stamp).map(|(stamp, _)| stamp);
    v.time = Some(header.boottime.wrapping_add(wall_minus_boot));
    v.profile = get(Slot::Profile);
    v.namespace = get(Slot::Namespace);
    v.name = get(Slot::Name);
    v.info = get(Slot::Info);
    v.error = (header.error != 0).then_some(header.error);
    v.pid = Some(header.tgid);
    v.comm = Some(arena.alloc_slice_copy(until_nul(bytemuck::bytes_of(&header.comm))));
    v.truncated = header.flags & TRUNCATED != 0;
    let target = Target {
        pid: u32::try_from(header.target_tgid).unwrap_or(0),
        cgroup_id: header.target_cgroup_id,
        start_boottime: header.target_start_boottime,
    };
    v.task = Some(Task {
        cgroup_id: header.cgroup_id,
        tid: header.tid,
        start_boottime: header.start_boottime,
        target: (target.pid != 0).then_some(target),
    });
    v.family = net.map(|net| words::family(u32::from(net.family), arena));
    let class = classify(kernel_class(&header), &v);
    v.class = class;
    v.requested_mask = mask(class, header.request, arena);
    v.denied_mask = mask(class, header.denied, arena);
    let mut others = ArenaVec::new_in(arena);
    let mut other = |key: &'static [u8], value: Option<&'a [u8]>| {
        if let Some(value) = value {
            others.push((key, value));
        }
    };
    match class {
        Class::Capability => {
            v.capability = u32::try_from(header.capability).ok();
            v.capname = v.capability.and_then(words::capability);
        }
        Class::File | Class::Exec | Class::Link | Class::ChangeProfile | Class::Mqueue => {
            v.target = get(Slot::Target).or(get(Slot::Peer));
            // The kernel tells the owners where it tells the mask: not for a change of profile
            // (`file_audit_cb`, file.c).
            if v.requested_mask.is_some() {
                v.fsuid = known(header.fsuid);
                v.ouid = known(header.ouid);
            }
        }
        Class::Mount => {
            v.srcname = get(Slot::Target);
            v.fstype = get(Slot::Fstype);
            v.flags = words::mount_flags(header.mount_flags, arena);
            other(b"trans", get(Slot::Trans));
            other(b"options", get(Slot::Options));
        }
        Class::Signal => {
            v.peer = get(Slot::Peer);
            v.signal = u32::try_from(header.signal)
                .ok()
                .map(|signal| words::signal(signal, header.unmappedsig, arena));
        }
        Class::Rlimit => {
            v.rlimit = u32::try_from(header.rlimit).ok().and_then(words::rlimit);
            v.value = Some(header.rlimit_max);
            v.peer = get(Slot::Peer);
        }
        Class::Network | Class::Unix => {
            v.peer = get(Slot::Peer);
            v.sock_type = u32::try_from(header.sock_type).ok().map(|number| words::sock_type(number, arena));
            v.protocol = Some(header.protocol);
            if let Some(net) = net {
                let fport = u16::from_be(net.fport);
                v.laddr = address(net.sk_family, &net.laddr, net.lport, arena);
                v.lport = port(net.lport);
                v.faddr = address(net.sk_family, &net.faddr, fport, arena);
                v.fport = port(fport);
                let (sport, dport) = (u16::from_be(net.sport), u16::from_be(net.dport));
                other(b"saddr", address(net.family, &net.saddr, sport, arena));
                other(b"src", port(sport).map(|port| words::text(format_args!("{port}"), arena)));
                other(b"daddr", address(net.family, &net.daddr, dport, arena));
                other(b"dest", port(dport).map(|port| words::text(format_args!("{port}"), arena)));
            }
            other(b"addr", get(Slot::UnixAddr).and_then(|raw| unix_address(raw, arena)));
            other(b"peer_addr", get(Slot::UnixPeerAddr).and_then(|raw| unix_address(raw, arena)));
        }
        Class::Policy => other(b"ns", get(Slot::Target)),
        Class::Ptrace | Class::IoUring | Class::Userns | Class::Dbus | Class::Other => {
            v.peer = get(Slot::Peer);
        }
    }
    v.others = others.into_bump_slice();
    Ok(v)
}

/// The kernel's word for the class; before 6.7 records have none, but the kind of object tells the most.
fn kernel_class(header: &Header) -> Option<&'static [u8]> {
    // linux/lsm_audit.h: LSM_AUDIT_DATA_NET, _CAP, _TASK.
    words::class(header.class).or(match (header.class, header.cad_type) {
        (u16::MAX, 2) => Some(b"net"),
        (u16::MAX, 3) => Some(b"cap"),
        (u16::MAX, 5) => Some(b"file"),
        _ => None,
    })
}

fn mask(class: Class, bits: u32, arena: &Bump) -> Option<&[u8]> {
    match class {
        Class::File | Class::Exec | Class::Link | Class::ChangeProfile | Class::Mqueue => {
            words::file_mask(bits, arena)
        }
        Class::Network | Class::Unix => words::net_mask(bits, arena),
        Class::Signal => words::signal_mask(bits),
        Class::Ptrace => words::ptrace_mask(bits),
        Class::IoUring => words::uring_mask(bits),
        Class::Userns => words::userns_mask(bits),
        Class::Mount | Class::Capability | Class::Rlimit | Class::Dbus | Class::Policy | Class::Other => None,
    }
}

type Slots<'a> = [Option<&'a [u8]>; Slot::COUNT];

fn unpack<'a>(header: &Header, mut strings: &'a [u8]) -> Result<Slots<'a>, WireError> {
    let mut slots: Slots<'a> = [None; Slot::COUNT];
    for (slot, len) in slots.iter_mut().zip(header.lens().iter().copied()) {
        if len != LEN_ABSENT {
            let (string, rest) = strings.split_at_checked(usize::from(len)).ok_or(WireError::Truncated)?;
            *slot = Some(string);
            strings = rest;
        }
    }
    Ok(slots)
}

/// `enum audit_type` (security/apparmor/include/audit.h).
fn verdict(header: &Header) -> Result<Verdict, WireError> {
    Ok(match header.verdict {
        0 => Verdict::Audit,
        1 => Verdict::Allowed,
        2 => Verdict::Denied,
        3 => Verdict::Hint,
        4 => Verdict::Status,
        5 => Verdict::Error,
        6 => Verdict::Killed,
        other => return Err(WireError::Verdict(other)),
    })
}

/// An address in words; the kernel leaves out one that is all zero with no port.
fn address<'a>(family: u16, bytes: &[u8; 16], port: u16, arena: &'a Bump) -> Option<&'a [u8]> {
    if port == 0 && *bytes == [0; 16] {
        return None;
    }
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = *bytes;
            Some(words::text(format_args!("{}", Ipv4Addr::new(a, b, c, d)), arena))
        }
        AF_INET6 => Some(words::text(format_args!("{}", Ipv6Addr::from(*bytes)), arena)),
        _ => None,
    }
}

fn port(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}

/// `sockaddr_un`: the family, then a path, or a NUL and an abstract name, which is written with `@`.
fn unix_address<'a>(raw: &'a [u8], arena: &'a Bump) -> Option<&'a [u8]> {
    let (family, path) = raw.split_first_chunk::<2>()?;
    match (u16::from_ne_bytes(*family), path) {
        (AF_UNIX, [0, name @ ..]) if !name.is_empty() => {
            let named = arena.alloc_slice_fill_copy(name.len() + 1, b'@');
            let (_, rest) = named.split_first_mut()?;
            rest.copy_from_slice(name);
            Some(named)
        }
        (AF_UNIX, [_, ..]) => Some(until_nul(path)).filter(|path| !path.is_empty()),
        _ => None,
    }
}

fn known(number: u32) -> Option<u32> {
    (number != u32::MAX).then_some(number)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
