//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod parse;
pub mod violation;
pub mod words;

mod class;
mod fields;
mod hex;
mod label;

pub use class::classify;
pub use label::{OPERATIONS, OTHER_OPERATION, operation_label, profile_base};
pub use parse::{ParseError, parse_payload};
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
pub fn profile_base(profile: &[u8]) -> &[u8] {
    match bstr::ByteSlice::find(profile, "//null-") {
        Some(end) => profile.get(..end).unwrap_or(profile),
        None => profile,
    }
}
