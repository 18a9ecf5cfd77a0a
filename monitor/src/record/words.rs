//! The kernel's own words for its numbers: masks, capabilities, signals, families, flags.
//!
//! The audit text says `requested_mask="wrc"` and `capname="sys_admin"`, the kernel's structures say 0x16 and
//! 21. A source that reads the structures turns them into the same words here, so that one violation reads
//! the same whichever source brought it.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

/// The permission bits that several classes share (`AA_MAY_*`, security/apparmor/include/perms.h and net.h).
mod bit {
    pub(super) const EXEC: u32 = 0x1;
    pub(super) const WRITE: u32 = 0x2;
    pub(super) const READ: u32 = 0x4;
    pub(super) const APPEND: u32 = 0x8;
    pub(super) const CREATE: u32 = 0x10;
    pub(super) const DELETE: u32 = 0x20;
    pub(super) const OPEN: u32 = 0x40;
    pub(super) const SETATTR: u32 = 0x100;
    pub(super) const GETATTR: u32 = 0x200;
    pub(super) const CHMOD: u32 = 0x1000;
    pub(super) const CHOWN: u32 = 0x2000;
    pub(super) const LOCK: u32 = 0x8000;
    pub(super) const MMAP: u32 = 0x1_0000;
    pub(super) const LINK: u32 = 0x4_0000;
    pub(super) const ACCEPT: u32 = 0x10_0000;
    pub(super) const BIND: u32 = 0x20_0000;
    pub(super) const LISTEN: u32 = 0x40_0000;
    pub(super) const SETOPT: u32 = 0x100_0000;
    pub(super) const GETOPT: u32 = 0x200_0000;
}

/// The letters of a file mask in the order in which the kernel writes them (`aa_file_perm_chrs`, lib.c).
/// Metadata has no letters: reading it counts as r, writing it as w (`map_mask_to_chr_mask`, file.c).
const FILE_LETTERS: [(u32, u8); 9] = [
    (bit::EXEC, b'x'),
    (bit::WRITE | bit::SETATTR | bit::CHMOD | bit::CHOWN, b'w'),
    (bit::READ | bit::GETATTR, b'r'),
    (bit::APPEND, b'a'),
    (bit::CREATE, b'c'),
    (bit::DELETE, b'd'),
    (bit::LOCK, b'k'),
    (bit::MMAP, b'm'),
    (bit::LINK, b'l'),
];

/// `requested_mask` and `denied_mask` of a file, exec or link: letters. None when the kernel leaves the key
/// out, as it does for change_profile.
pub fn file_mask(mask: u32, arena: &Bump) -> Option<&[u8]> {
    let letters = FILE_LETTERS.into_iter().filter(|&(bits, _)| mask & bits != 0).map(|(_, letter)| letter);
    let mut text = ArenaVec::with_capacity_in(FILE_LETTERS.len(), arena);
    text.extend(letters);
    (!text.is_empty()).then(|| text.into_bump_slice())
}

/// The words of a socket mask in the order in which the kernel writes them (`net_mask_names`, net.c).
const NET_WORDS: [(u32, &str); 12] = [
    (bit::WRITE, "send"),
    (bit::READ, "receive"),
    (bit::CREATE, "create"),
    (bit::DELETE, "shutdown"),
    (bit::OPEN, "connect"),
    (bit::SETATTR, "setattr"),
    (bit::GETATTR, "getattr"),
    (bit::ACCEPT, "accept"),
    (bit::BIND, "bind"),
    (bit::LISTEN, "listen"),
    (bit::SETOPT, "setopt"),
    (bit::GETOPT, "getopt"),
];

/// `requested_mask` and `denied_mask` of a socket: words with spaces between. None when the kernel leaves
/// the key out.
pub fn net_mask(mask: u32, arena: &Bump) -> Option<&[u8]> {
    joined(NET_WORDS.into_iter().filter(|&(bit, _)| mask & bit != 0).map(|(_, word)| word), " ", arena)
}

/// `requested_mask` and `denied_mask` of a signal (`audit_signal_mask`, ipc.c).
pub const fn signal_mask(mask: u32) -> Option<&'static [u8]> {
    match mask & (bit::READ | bit::WRITE) {
        0 => None,
        bit::WRITE => Some(b"send"),
        bit::READ => Some(b"receive"),
        _ => Some(b""),
    }
}

/// `requested_mask` and `denied_mask` of a trace (`audit_ptrace_mask`, task.c).
pub const fn ptrace_mask(mask: u32) -> Option<&'static [u8]> {
    /// `AA_MAY_BE_TRACED` and `AA_MAY_BE_READ`, include/ipc.h and task.h.
    const TRACED_BY: u32 = 0x8;
    const READ_BY: u32 = 0x10;
    match mask & (bit::READ | bit::WRITE | TRACED_BY | READ_BY) {
        0 => None,
        bit::READ => Some(b"read"),
        bit::WRITE => Some(b"trace"),
        READ_BY => Some(b"readby"),
        TRACED_BY => Some(b"tracedby"),
        _ => Some(b""),
    }
}

/// `requested` and `denied` of an io_uring operation (`audit_uring_mask`, lsm.c).
pub const fn uring_mask(mask: u32) -> Option<&'static [u8]> {
    if mask & bit::CREATE != 0 {
        Some(b"sqpoll")
    } else if mask & bit::APPEND != 0 {
        Some(b"override_creds")
    } else {
        None
    }
}

/// `requested` and `denied` of making a user namespace (`audit_ns_cb`, task.c).
pub const fn userns_mask(mask: u32) -> Option<&'static [u8]> {
    if mask & bit::APPEND != 0 { Some(b"userns_create") } else { None }
}

/// The names of the mediation classes as `class=` has them (`aa_class_names`, audit.c). Kernels differ for
/// the numbers past 17; this is the newest naming, which older ones print as `unknown`.
pub const fn class(number: u16) -> Option<&'static [u8]> {
    let name: &[u8] = match number {
        0 => b"none",
        2 => b"file",
        3 => b"cap",
        4 | 14 => b"net",
        5 => b"rlimits",
        6 => b"domain",
        7 => b"mount",
        9 => b"ptrace",
        10 => b"signal",
        15 => b"netv9",
        16 => b"label",
        17 => b"posix_mqueue",
        19 => b"module",
        20 => b"lsm",
        21 => b"namespace",
        22 => b"io_uring",
        32 => b"dbus",
        _ => return None,
    };
    Some(name)
}

/// The capabilities by number (include/uapi/linux/capability.h), as `capname=` has them.
const CAPABILITIES: &str = "\
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable \
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio \
    sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config \
    mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm \
    block_suspend audit_read perfmon bpf checkpoint_restore";

/// A capability's name; None for one that this version does not know.
pub fn capability(number: u32) -> Option<&'static [u8]> {
    numbered(CAPABILITIES, number)
}

/// The signals by AppArmor's own number, which is the same on all architectures (`sig_names`, sig_names.h).
const SIGNALS: &str = "\
    unknown hup int quit ill trap abrt bus fpe kill usr1 segv usr2 pipe alrm term stkflt chld cont \
    stop stp ttin ttou urg xcpu xfsz vtalrm prof winch io pwr sys emt lost unused exists";

/// The number of the first real-time signal in AppArmor's numbering (`SIGRT_BASE`).
const SIGNAL_RTMIN: u32 = 128;

/// `signal=`: from AppArmor's number, and from the architecture's where AppArmor has none (0).
pub fn signal(mapped: u32, unmapped: i32, arena: &Bump) -> &[u8] {
    match mapped {
        0 => text(format_args!("unknown({unmapped})"), arena),
        SIGNAL_RTMIN.. => text(format_args!("rtmin+{}", mapped - SIGNAL_RTMIN), arena),
        _ => numbered(SIGNALS, mapped).unwrap_or_else(|| text(format_args!("unknown({mapped})"), arena)),
    }
}

/// The resource limits by number (include/uapi/asm-generic/resource.h: x86 and arm).
const RLIMITS: &str = "\
    cpu fsize data stack core rss nproc nofile memlock as locks sigpending msgqueue nice rtprio rttime";

/// A resource limit's name; None for one that this version does not know.
pub fn rlimit(number: u32) -> Option<&'static [u8]> {
    numbered(RLIMITS, number)
}

/// The address families by number (include/linux/socket.h, without the aliases local and route). The kernel has
/// no name for 12: the script that makes its table overlooks the lower-case letters of AF_DECnet.
const FAMILIES: &str = "\
    unspec unix inet ax25 ipx appletalk netrom bridge atmpvc x25 inet6 rose - netbeui security key \
    netlink packet ash econet atmsvc rds sna irda pppox wanpipe llc ib mpls can tipc bluetooth iucv \
    rxrpc isdn phonet ieee802154 caif alg nfc vsock kcm qipcrtr smc xdp mctp";

/// `family=`.
pub fn family(number: u32, arena: &Bump) -> &[u8] {
    numbered(FAMILIES, number).unwrap_or_else(|| text(format_args!("unknown({number})"), arena))
}

/// The socket types by number (`enum sock_type`, include/linux/net.h).
const SOCKET_TYPES: &str = "\
    - stream dgram raw rdm seqpacket dccp - - - packet";

/// `sock_type=`.
pub fn sock_type(number: u32, arena: &Bump) -> &[u8] {
    numbered(SOCKET_TYPES, number).unwrap_or_else(|| text(format_args!("unknown({number})"), arena))
}

/// What the recursive form of a mount flag begins with.
const MS_REC: u64 = 0x4000;

/// The flags of a mount in the order in which the kernel writes them (`audit_mnt_flags`, mount.c), each with
/// its word and its word when the mount is recursive.
const MOUNT_FLAGS: [(u64, &str, &str); 22] = [
    (0x2, "nosuid", "nosuid"),
    (0x4, "nodev", "nodev"),
    (0x8, "noexec", "noexec"),
    (0x10, "sync", "sync"),
    (0x20, "remount", "remount"),
    (0x40, "mand", "mand"),
    (0x80, "dirsync", "dirsync"),
    (0x100, "nosymfollow", "nosymfollow"),
    (0x400, "noatime", "noatime"),
    (0x800, "nodiratime", "nodiratime"),
    (0x1000, "bind", "rbind"),
    (0x2000, "move", "move"),
    (0x8000, "silent", "silent"),
    (0x1_0000, "acl", "acl"),
    (0x2_0000, "unbindable", "runbindable"),
    (0x4_0000, "private", "rprivate"),
    (0x8_0000, "slave", "rslave"),
    (0x10_0000, "shared", "rshared"),
    (0x20_0000, "relatime", "relatime"),
    (0x80_0000, "iversion", "iversion"),
    (0x100_0000, "strictatime", "strictatime"),
    (0x8000_0000, "nouser", "nouser"),
];

/// `flags=` of a mount: `rw, nosuid, bind`. None when there are none and the kernel leaves the key out.
pub fn mount_flags(flags: u64, arena: &Bump) -> Option<&[u8]> {
    const MS_RDONLY: u64 = 1;
    if flags == 0 {
        return None;
    }
    let access = if flags & MS_RDONLY == 0 { "rw" } else { "ro" };
    let words = MOUNT_FLAGS
        .into_iter()
        .filter(|&(bit, _, _)| flags & bit != 0)
        .map(|(_, word, recursive)| if flags & MS_REC == 0 { word } else { recursive });
    joined(std::iter::once(access).chain(words), ", ", arena)
}

/// The name at `number` of a list with spaces between the names; a dash is none.
fn numbered(names: &'static str, number: u32) -> Option<&'static [u8]> {
    let name = names.split(' ').nth(usize::try_from(number).ok()?)?;
    (name != "-").then_some(name.as_bytes())
}

/// Text made in the arena.
pub(super) fn text<'a>(words: std::fmt::Arguments<'_>, arena: &'a Bump) -> &'a [u8] {
    bumpalo::format!(in arena, "{}", words).into_bump_str().as_bytes()
}

/// The words with `separator` between them; None when there are none. A single word is not copied.
fn joined<'a>(
    mut words: impl Iterator<Item = &'static str>,
    separator: &str,
    arena: &'a Bump,
) -> Option<&'a [u8]> {
    let first = words.next()?.as_bytes();
    let Some(second) = words.next() else {
        return Some(first);
    };
    let mut text = ArenaVec::with_capacity_in(64, arena);
    text.extend_from_slice(first);
    for word in std::iter::once(second).chain(words) {
        text.extend_from_slice(separator.as_bytes());
        text.extend_from_slice(word.as_bytes());
    }
    Some(text.into_bump_slice())
}

#[cfg(test)]
mod tests;
