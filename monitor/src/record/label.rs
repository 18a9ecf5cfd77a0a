//! What of a record may become a metric label: a closed list of operations, and profiles without the names
//! that a complain-mode profile makes up for every program it meets.

use std::borrow::Cow;
use std::sync::LazyLock;

use bstr::ByteSlice as _;
use memchr::memmem::Finder;

/// The label of an operation that is not in [`OPERATIONS`].
pub const OTHER_OPERATION: &str = "other";

macro_rules! operations {
    ($($name:literal,)*) => {
        /// All operations that can be a label, sorted: those of the kernel (`OP_*`,
        /// security/apparmor/include/audit.h, up to 7.3, and Ubuntu's) and those of the bus daemons.
        pub const OPERATIONS: &[&str] = &[$(text($name)),*];

        /// The label for an operation: its own word if that is known, else [`OTHER_OPERATION`], so that no
        /// text from a log can make up series.
        pub fn operation_label(operation: &[u8]) -> &'static str {
            match operation {
                $($name => const { text($name) },)*
                _ => OTHER_OPERATION,
            }
        }
    };
}

operations! {
    b"accept", b"bind", b"capable", b"change_hat", b"change_onexec", b"change_profile", b"chmod",
    b"chown", b"connect", b"create", b"dbus_bind", b"dbus_eavesdrop", b"dbus_error",
    b"dbus_method_call", b"dbus_method_return", b"dbus_signal", b"exec", b"file_inherit",
    b"file_lock", b"file_mmap", b"file_mprotect", b"file_perm", b"file_receive", b"getattr",
    b"getpeername", b"getsockname", b"getsockopt", b"link", b"listen", b"mkdir", b"mknod", b"mount",
    b"open", b"pivotroot", b"post_create", b"profile_load", b"profile_remove", b"profile_replace",
    b"ptrace", b"recvmsg", b"rename_dest", b"rename_src", b"rmdir", b"sendmsg", b"setprocattr",
    b"setrlimit", b"setsockopt", b"signal", b"socket_shutdown", b"stack", b"stack_onexec",
    b"symlink", b"sysv_mqueue", b"truncate", b"umount", b"unlink", b"uring_override",
    b"uring_sqpoll", b"userns_create",
}

const fn text(word: &'static [u8]) -> &'static str {
    match std::str::from_utf8(word) {
        Ok(word) => word,
        Err(_) => OTHER_OPERATION,
    }
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
    /// Made once, because making it takes longer than searching a name.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(LEARNING));
    let Some(first) = FINDER.find(profile) else {
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
    fn an_operation_is_its_own_label() {
        assert!(OPERATIONS.is_sorted());
        for operation in OPERATIONS {
            assert_eq!(operation_label(operation.as_bytes()), *operation);
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
