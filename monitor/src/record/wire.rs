//! From the eBPF programs' records to a [`Violation`]: the kernel's numbers become the kernel's words, so
//! that a violation reads the same whichever source brought it.

use std::net::{Ipv4Addr, Ipv6Addr};

use bumpalo::Bump;

use aa_monitor_ebpf::{Header, KIND_VIOLATION, LEN_ABSENT, Net, Slot, TRUNCATED, WIRE_VERSION};

use super::stamp;
use super::violation::{Class, Origin, Task, Verdict, Violation};
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

/// Decodes one record of the ring. `wall_minus_boot` is what has to be added to the kernel's boot time to
/// get nanoseconds since the epoch.
pub fn decode_wire<'a>(raw: &'a [u8], wall_minus_boot: u64, arena: &'a Bump) -> Result<Violation<'a>, WireError> {
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
    let net: Option<Net> = get(Slot::Net)
        .filter(|bytes| bytes.len() == size_of::<Net>())
        .map(bytemuck::pod_read_unaligned);

    let verdict = verdict(&header)?;
    let family = net.and_then(|net| words::family(net.family));
    let class = words::class_of_number(header.class)
        .map_or_else(|| Class::of(None, operation, family), |word| Class::of(Some(word), operation, family));
    let mut v = Violation::new(verdict, class, Origin::Ebpf, operation);
    v.audit_id = get(Slot::Stamp).and_then(stamp::parse);
    v.time = Some(header.boottime.wrapping_add(wall_minus_boot));
    v.profile = get(Slot::Profile);
    v.namespace = get(Slot::Namespace);
    v.name = get(Slot::Name);
    v.info = get(Slot::Info);
    v.error = (header.error != 0).then_some(header.error);
    v.pid = Some(header.tgid);
    v.comm = Some(arena.alloc_slice_copy(until_nul(&header.comm)));
    v.truncated = header.flags & TRUNCATED != 0;
    v.task = Some(Task {
        cgroup_id: header.cgroup_id,
        tid: header.tid,
        start_boottime: header.start_boottime,
    });
    if header.request != 0 || header.denied != 0 {
        v.requested_mask = words::mask(class, header.request, arena);
        v.denied_mask = words::mask(class, header.denied, arena);
    }
    match class {
        Class::Capability => {
            v.capability = u32::try_from(header.capability).ok();
            v.capname = v.capability.and_then(words::capability);
        }
        Class::File | Class::Exec | Class::Link | Class::ChangeProfile | Class::Mqueue => {
            v.target = get(Slot::Target).or(get(Slot::Peer));
            v.fsuid = known(header.fsuid);
            v.ouid = known(header.ouid);
        }
        Class::Mount => {
            v.srcname = get(Slot::Target);
            v.fstype = get(Slot::Fstype);
            v.flags = words::mount_flags(operation, header.mount_flags, arena);
            add(&mut v, b"trans", get(Slot::Trans));
            add(&mut v, b"options", get(Slot::Options));
        }
        Class::Signal => {
            v.peer = get(Slot::Peer);
            v.signal = words::signal(header.signal, header.unmappedsig, arena);
        }
        Class::Rlimit => {
            v.rlimit = usize::try_from(header.rlimit).ok().and_then(words::rlimit);
            v.value = Some(header.rlimit_max);
            v.peer = get(Slot::Peer);
        }
        Class::Network | Class::Unix => {
            v.peer = get(Slot::Peer);
            v.family = family;
            v.sock_type = words::sock_type(header.sock_type);
            v.protocol = Some(header.protocol);
            if let Some(net) = net {
                addresses(&mut v, &net, arena);
            }
            add(&mut v, b"addr", get(Slot::UnixAddr).and_then(|raw| unix_address(raw, arena)));
            add(&mut v, b"peer_addr", get(Slot::UnixPeerAddr).and_then(|raw| unix_address(raw, arena)));
        }
        Class::Policy => add(&mut v, b"ns", get(Slot::Target)),
        Class::Ptrace | Class::IoUring | Class::Userns | Class::Dbus | Class::Other => v.peer = get(Slot::Peer),
    }
    Ok(v)
}

type Slots<'a> = [Option<&'a [u8]>; Slot::COUNT];

fn unpack<'a>(header: &Header, mut strings: &'a [u8]) -> Result<Slots<'a>, WireError> {
    let mut slots: Slots<'a> = [None; Slot::COUNT];
    for (slot, len) in slots.iter_mut().zip(header.lens) {
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

/// Addresses in the keys that the kernel uses: those of the socket, as `dump_common_audit_data` prints them
/// (security/lsm_audit.c), and those of the request, which only newer kernels fill in.
fn addresses<'a>(v: &mut Violation<'a>, net: &Net, arena: &'a Bump) {
    let fport = u16::from_be(net.fport);
    v.laddr = address(net.sk_family, &net.laddr, net.lport, arena);
    v.lport = port(net.lport);
    v.faddr = address(net.sk_family, &net.faddr, fport, arena);
    v.fport = port(fport);
    for (key, address_bytes, port_key, port_number) in [
        (&b"saddr"[..], &net.saddr, &b"src"[..], u16::from_be(net.sport)),
        (&b"daddr"[..], &net.daddr, &b"dest"[..], u16::from_be(net.dport)),
    ] {
        add(v, key, address(net.family, address_bytes, port_number, arena));
        let digits = port(port_number).map(|port| text(format_args!("{port}"), arena));
        add(v, port_key, digits);
    }
}

/// An address in words; the kernel leaves out one that is all zero with no port.
fn address<'a>(family: u16, bytes: &[u8; 16], port: u16, arena: &'a Bump) -> Option<&'a [u8]> {
    if port == 0 && *bytes == [0; 16] {
        return None;
    }
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = *bytes;
            Some(text(format_args!("{}", Ipv4Addr::new(a, b, c, d)), arena))
        }
        AF_INET6 => Some(text(format_args!("{}", Ipv6Addr::from(*bytes)), arena)),
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

fn add<'a>(v: &mut Violation<'a>, key: &'static [u8], value: Option<&'a [u8]>) {
    if let Some(value) = value {
        v.others.push((key, value));
    }
}

fn text<'a>(args: std::fmt::Arguments<'_>, arena: &'a Bump) -> &'a [u8] {
    use std::fmt::Write as _;
    let mut out = bumpalo::collections::String::new_in(arena);
    // A string in memory takes everything.
    let _infallible = out.write_fmt(args);
    out.into_bump_str().as_bytes()
}

fn known(number: u32) -> Option<u32> {
    (number != u32::MAX).then_some(number)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
