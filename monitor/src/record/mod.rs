//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod violation;

pub use violation::{AuditId, Class, Origin, Task, Verdict, Violation};

/// The operation as a label: the kernel's word if it is one that the kernel has, otherwise `other`.
pub fn operation_label(operation: &[u8]) -> &'static str {
    const KNOWN: [&str; 14] = [
        "open",
        "exec",
        "mknod",
        "unlink",
        "capable",
        "create",
        "connect",
        "sendmsg",
        "signal",
        "ptrace",
        "mount",
        "umount",
        "setrlimit",
        "change_profile",
    ];
    KNOWN.into_iter().find(|known| known.as_bytes() == operation).unwrap_or("other")
}

/// The profile that an administrator wrote: without what complain mode appended (`//null-...`).
pub fn profile_base(profile: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let end = bstr::ByteSlice::find(profile, "//null-").unwrap_or(profile.len());
    profile.get(..end).unwrap_or(profile).into()
}
