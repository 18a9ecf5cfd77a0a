//! One record in the ring.

/// Changes with every change of [`Header`] or [`Slot`]: a reader that finds another number must not guess.
pub const WIRE_VERSION: u16 = 1;

/// The record is an AppArmor event.
pub const KIND_VIOLATION: u8 = 1;

/// Bit of [`Header::flags`]: a string was as long as its slot allows and was cut.
pub const TRUNCATED: u8 = 1;

/// [`Header::lens`] of a string that the kernel did not have (a NULL pointer). 0 is an empty string.
pub const LEN_ABSENT: u16 = u16::MAX;

/// What precedes the stamp in an audit buffer: `struct nlmsghdr`.
pub const STAMP_SKIP: u64 = 16;

/// The variable parts of a record, in the order in which they are packed.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// What the program did, in the kernel's words.
    Operation = 0,
    /// `audit(1795450134.756:4): `; absent when audit built no record.
    Stamp = 1,
    /// The deciding profile.
    Profile = 2,
    /// Its policy namespace, when it is not the root one.
    Namespace = 3,
    /// The object.
    Name = 4,
    /// Why, in words.
    Info = 5,
    /// The other side's label.
    Peer = 6,
    /// Link or transition target (file), what is mounted (mount), policy namespace (policy).
    Target = 7,
    /// File system type of a mount.
    Fstype = 8,
    /// Profile that a pivot_root changes to.
    Trans = 9,
    /// Mount options.
    Options = 10,
    /// `sockaddr_un`, raw.
    UnixAddr = 11,
    /// The peer's `sockaddr_un`, raw.
    UnixPeerAddr = 12,
    /// A [`Net`], raw.
    Net = 13,
}

impl Slot {
    /// How many there are.
    pub const COUNT: usize = 14;

    /// All slots in wire order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Operation,
        Self::Stamp,
        Self::Profile,
        Self::Namespace,
        Self::Name,
        Self::Info,
        Self::Peer,
        Self::Target,
        Self::Fstype,
        Self::Trans,
        Self::Options,
        Self::UnixAddr,
        Self::UnixPeerAddr,
        Self::Net,
    ];

    /// The most bytes the programs read for it, the terminating NUL included.
    pub const fn max(self) -> usize {
        match self {
            Self::Operation => 32,
            Self::Stamp => 40,
            Self::Profile | Self::Peer | Self::Trans => 1024,
            Self::Namespace | Self::Info => 256,
            // PATH_MAX: the kernel's own limit for a path.
            Self::Name | Self::Target => 4096,
            Self::Fstype => 64,
            Self::Options => 512,
            Self::UnixAddr | Self::UnixPeerAddr => 112,
            Self::Net => NET_BYTES,
        }
    }
}

/// The sum of what the slots can hold.
pub const STRINGS_MAX: usize = {
    let mut sum = 0;
    let mut slots: &[Slot] = &Slot::ALL;
    while let [slot, rest @ ..] = slots {
        sum += slot.max();
        slots = rest;
    }
    sum
};

/// The longest record.
pub const RECORD_MAX: usize = size_of::<Header>() + STRINGS_MAX;

/// The fixed part of a record. Numbers that this kernel or this class of record does not have are all ones
/// (-1, `u32::MAX`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Header {
    /// [`WIRE_VERSION`].
    pub version: u16,
    /// [`KIND_VIOLATION`].
    pub kind: u8,
    /// [`TRUNCATED`].
    pub flags: u8,
    /// `enum audit_type`: 0 AUDIT, 1 ALLOWED, 2 DENIED, 3 HINT, 4 STATUS, 5 ERROR, 6 KILLED.
    pub verdict: i32,
    /// `AA_CLASS_*`, [`u16::MAX`] on kernels before 6.7.
    pub class: u16,
    /// `LSM_AUDIT_DATA_*`.
    pub cad_type: u8,
    /// Padding, 0.
    pub pad: u8,
    /// errno, negative.
    pub error: i32,
    /// Requested permissions.
    pub request: u32,
    /// Denied permissions.
    pub denied: u32,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// File system uid in the initial user namespace.
    pub fsuid: u32,
    /// Owner of the object (file).
    pub ouid: u32,
    /// Capability number.
    pub capability: i32,
    /// AppArmor's index of the signal.
    pub signal: i32,
    /// The signal's number as sent.
    pub unmappedsig: i32,
    /// Socket type.
    pub sock_type: i32,
    /// Socket protocol.
    pub protocol: i32,
    /// Number of the resource limit.
    pub rlimit: i32,
    /// Value asked for.
    pub rlimit_max: u64,
    /// Mount flags.
    pub mount_flags: u64,
    /// cgroup v2 id of the task.
    pub cgroup_id: u64,
    /// Start of the process, nanoseconds since boot; 0 when unknown.
    pub start_boottime: u64,
    /// Now, nanoseconds since boot, suspend included.
    pub boottime: u64,
    /// The thread's comm, NUL-padded; words, because a program moves those with one instruction each.
    pub comm: [u64; 2],
    /// Length of each slot's string, 16 bits each, or [`LEN_ABSENT`].
    pub lens: [u64; LENS_WORDS],
}

/// How many words hold the lengths.
pub const LENS_WORDS: usize = Slot::COUNT.div_ceil(4);

impl Header {
    /// The length of each slot's string.
    pub fn lens(&self) -> &[u16] {
        bytemuck::cast_slice(&self.lens)
    }
}

/// Size of [`Net`].
pub const NET_BYTES: usize = size_of::<Net>();

/// What is known of a socket: addresses in network order, IPv4 in the first four bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Net {
    /// Address family of the request.
    pub family: u16,
    /// Address family of the socket, 0 without a socket.
    pub sk_family: u16,
    /// Source port of the request, network order.
    pub sport: u16,
    /// Destination port of the request, network order.
    pub dport: u16,
    /// The socket's local port, host order.
    pub lport: u16,
    /// The socket's foreign port, network order.
    pub fport: u16,
    /// Source address of the request.
    pub saddr: [u8; 16],
    /// Destination address of the request.
    pub daddr: [u8; 16],
    /// The socket's local address.
    pub laddr: [u8; 16],
    /// The socket's foreign address.
    pub faddr: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 152 && align_of::<Header>() == 8, "no implicit padding");
const _: () = assert!(size_of::<Net>() == 76 && align_of::<Net>() == 2, "no implicit padding");
const _: () = assert!(RECORD_MAX < 16 * 1024, "two records must fit a page-order-3 per-CPU value");
