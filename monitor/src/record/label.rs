//! What of a record may become a metric label: a closed list of operations, and profiles without the names
//! that a complain-mode profile makes up for every program it meets.

use std::borrow::Cow;

use bstr::ByteSlice as _;

/// The label of an operation that is not in [`OPERATIONS`].
pub const OTHER_OPERATION: &str = "other";

/// All operations that can be a label, sorted: those of the kernel (`OP_*`,
/// security/apparmor/include/audit.h, up to 7.3, and Ubuntu's) and those of the bus daemons.
pub const OPERATIONS: [&str; 59] = [
    "accept",
    "bind",
    "capable",
    "change_hat",
    "change_onexec",
    "change_profile",
    "chmod",
    "chown",
    "connect",
    "create",
    "dbus_bind",
    "dbus_eavesdrop",
    "dbus_error",
    "dbus_method_call",
    "dbus_method_return",
    "dbus_signal",
    "exec",
    "file_inherit",
    "file_lock",
    "file_mmap",
    "file_mprotect",
    "file_perm",
    "file_receive",
    "getattr",
    "getpeername",
    "getsockname",
    "getsockopt",
    "link",
    "listen",
    "mkdir",
    "mknod",
    "mount",
    "open",
    "pivotroot",
    "post_create",
    "profile_load",
    "profile_remove",
    "profile_replace",
    "ptrace",
    "recvmsg",
    "rename_dest",
    "rename_src",
    "rmdir",
    "sendmsg",
    "setprocattr",
    "setrlimit",
    "setsockopt",
    "signal",
    "socket_shutdown",
    "stack",
    "stack_onexec",
    "symlink",
    "sysv_mqueue",
    "truncate",
    "umount",
    "unlink",
    "uring_override",
    "uring_sqpoll",
    "userns_create",
];

/// The label for an operation: its own word if that is known, else [`OTHER_OPERATION`], so that no text from
/// a log can make up series.
pub fn operation_label(operation: &[u8]) -> &'static str {
    OPERATIONS
        .binary_search_by(|known| known.as_bytes().cmp(operation))
        .ok()
        .and_then(|at| OPERATIONS.get(at).copied())
        .unwrap_or(OTHER_OPERATION)
}

/// What separates the profiles of a stack.
const STACKED: &[u8] = b"//&";

/// How the name of a learning profile begins: complain mode enters one for each program that the profile has
/// no rule to execute, named after its path or, failing that, a running number.
const LEARNING: &[u8] = b"//null-";

/// The profile that an author wrote: without the learning profiles below it, hats and children kept.
///
/// `web//home//null-/bin/sh//null-/bin/cat` is about `web//home`. In a stack each profile is treated so.
pub fn profile_base(profile: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = profile.find(LEARNING) else {
        return Cow::Borrowed(profile);
    };
    if profile.find(STACKED).is_none() {
        let base = profile.get(..first).unwrap_or(profile);
        return Cow::Borrowed(base);
    }
    let bases = profile.split_str(STACKED).map(|one| match one.find(LEARNING) {
        Some(at) => one.get(..at).unwrap_or(one),
        None => one,
    });
    Cow::Owned(bstr::join(STACKED, bases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_operations_can_be_searched() {
        assert!(OPERATIONS.is_sorted());
        for operation in OPERATIONS {
            assert_eq!(operation_label(operation.as_bytes()), operation);
        }
    }

    #[test]
    fn an_unknown_operation_has_one_label() {
        for operation in ["", "opem", "openx", "OPEN", "frobnicate", "\u{1b}[31m"] {
            assert_eq!(operation_label(operation.as_bytes()), OTHER_OPERATION, "{operation:?}");
        }
    }

    #[test]
    fn a_profile_loses_its_learning_profiles() {
        let rows = [
            ("plain", "docker-default", "docker-default"),
            ("a path", "/usr/sbin/cupsd", "/usr/sbin/cupsd"),
            ("a hat", "web//home", "web//home"),
            ("named after the program", "comp//null-/bin/busybox", "comp"),
            ("numbered", "comp//null-1f", "comp"),
            ("twice", "comp//null-/bin/sh//null-/bin/cat", "comp"),
            ("below a hat", "web//home//null-/bin/sh", "web//home"),
            ("a stack", "a//&b", "a//&b"),
            ("a stack of both", "a//null-/x//&b", "a//&b"),
            ("the end of a stack", "a//&b//null-/x", "a//&b"),
            ("in a namespace", ":ns://comp//null-/x", ":ns://comp"),
            ("a name that only begins so", "null-comp", "null-comp"),
            ("a path with null", "/usr/bin/null-x", "/usr/bin/null-x"),
            ("empty", "", ""),
        ];
        for (name, profile, want) in rows {
            assert_eq!(profile_base(profile.as_bytes()).as_bstr(), want.as_bytes().as_bstr(), "{name}");
        }
    }
}
