//! Silent denials, as the programs add them up: what AppArmor refuses without a record.

/// Class of a tally whose class only its operation tells (kernels before 6.7).
pub const CLASS_UNKNOWN: u16 = u16::MAX;

/// Why a denial left no record.
pub mod reason {
    /// An explicit `deny` rule: refused, and not reported.
    pub const QUIET_RULE: u8 = 0;
    /// A capability: denied by an explicit rule, or reported a moment ago and kept in AppArmor's cache.
    pub const CAPABILITY: u8 = 1;
    /// A check that asked not to be reported (`CAP_OPT_NOAUDIT`).
    pub const NO_AUDIT: u8 = 2;
    /// No rule says so: the kernel's or the profile's audit mode is quiet.
    pub const AUDIT_MODE: u8 = 3;
}

/// Slots of the array `SETTINGS`, which the agent writes while the programs run.
pub mod setting {
    /// One of [`super::audit_mode`].
    pub const AUDIT_MODE: u32 = 0;
    /// What [`super::TallyKey::epoch`] is at present.
    pub const EPOCH: u32 = 1;
    /// How many slots there are.
    pub const SLOTS: u32 = 2;
}

/// What the kernel's audit mode makes of quiet rules (`/sys/module/apparmor/parameters/audit`).
pub mod audit_mode {
    /// `normal`: each profile's own mode decides.
    pub const PROFILE: u32 = 0;
    /// They stay quiet, whatever the profile says.
    pub const QUIET: u32 = 1;
    /// They are reported, whatever the profile says.
    pub const LOUD: u32 = 2;
}

/// What is counted together. The object's name is not part of it: a container chooses names, and could fill
/// the map with them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct TallyKey {
    /// Hash of the profile's name and namespace.
    pub profile: u64,
    /// Cgroup id of the task whose profile refused, in the hierarchy that is watched; 0 if it is not known.
    pub cgroup_id: u64,
    /// Address of the operation's constant string, 0 for mounts and capabilities.
    pub operation: u64,
    /// Capability number, -1 for everything else.
    pub capability: i32,
    /// `AA_CLASS_*`, [`CLASS_UNKNOWN`] before 6.7.
    pub class: u16,
    /// Address family of a socket, 0 without one.
    pub family: u16,
    /// One of [`reason`].
    pub reason: u8,
    /// The epoch in which it was begun; what is of one that has ended is not added to any more.
    pub epoch: u8,
    /// Padding, 0.
    pub pad: [u8; 6],
}

/// The count, and what the first denial of it was about.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Tally {
    /// How many; only grows.
    pub count: u64,
    /// Profile, NUL-padded.
    pub profile: [u8; 256],
    /// Its policy namespace when it is not the root one, NUL-padded.
    pub namespace: [u8; 64],
    /// Operation, NUL-padded.
    pub operation: [u8; 32],
    /// Object of the first denial, NUL-padded, cut to fit.
    pub name: [u8; 256],
}

const _: () = assert!(size_of::<TallyKey>() == 40, "no implicit padding");
const _: () = assert!(size_of::<Tally>() == 616, "no implicit padding");
const _: () = assert!(
    core::mem::offset_of!(Tally, profile) % 8 == 0 && core::mem::offset_of!(Tally, namespace) % 8 == 0,
    "they are hashed by words"
);
