//! Which [`Class`] a record belongs to: from `class=` where the kernel writes it (6.7 and later), else from
//! the operation and the keys beside it.

use super::violation::{Class, Verdict, Violation};

/// The class of a record whose fields are all read.
///
/// `kernel_class` is the value of `class=`. The kernel has one class for what profile authors write
/// different rules for, and the operation tells these apart; so it is looked at first.
pub fn classify(kernel_class: Option<&[u8]>, violation: &Violation<'_>) -> Class {
    let by_operation = of_operation(violation.operation);
    let Some(word) = kernel_class else {
        return by_operation.unwrap_or_else(|| of_keys(violation));
    };
    match word {
        b"file" => match by_operation {
            Some(class @ (Class::Exec | Class::Link | Class::ChangeProfile)) => class,
            // A message queue on kernels that mediate it as a file keeps the kernel's word.
            _ => Class::File,
        },
        b"cap" => Class::Capability,
        b"net" | b"netv9" => of_family(violation.family),
        b"mount" => Class::Mount,
        b"signal" => Class::Signal,
        b"ptrace" => Class::Ptrace,
        b"rlimits" => Class::Rlimit,
        b"posix_mqueue" | b"sysv_mqueue" => Class::Mqueue,
        b"io_uring" => Class::IoUring,
        b"namespace" => Class::Userns,
        b"dbus" => Class::Dbus,
        b"domain" => Class::ChangeProfile,
        // A kernel older than the class has no word for it.
        b"none" | b"unknown" => by_operation.unwrap_or_else(|| of_keys(violation)),
        // `label`, `module`, `lsm`, and words of kernels to come.
        _ => by_operation.unwrap_or(Class::Other),
    }
}

/// Whether an operation is a change of the policy itself.
pub(super) fn changes_policy(operation: &[u8]) -> bool {
    of_operation(operation) == Some(Class::Policy)
}

/// The class an operation belongs to whatever the keys; None when several share the word or it is unknown.
fn of_operation(operation: &[u8]) -> Option<Class> {
    let class = match operation {
        b"open" | b"unlink" | b"mkdir" | b"rmdir" | b"mknod" | b"truncate" | b"symlink" | b"rename_src"
        | b"rename_dest" | b"chmod" | b"chown" | b"file_receive" | b"file_lock" | b"file_mmap"
        | b"file_mprotect" | b"sysctl" => Class::File,
        b"exec" => Class::Exec,
        b"link" => Class::Link,
        b"capable" => Class::Capability,
        b"ptrace" => Class::Ptrace,
        b"signal" => Class::Signal,
        b"mount" | b"umount" | b"pivotroot" => Class::Mount,
        b"setrlimit" => Class::Rlimit,
        b"change_hat" | b"change_profile" | b"change_onexec" | b"stack" | b"stack_onexec"
        | b"setprocattr" => Class::ChangeProfile,
        b"profile_load" | b"profile_replace" | b"profile_remove" => Class::Policy,
        b"userns_create" => Class::Userns,
        b"sysv_mqueue" => Class::Mqueue,
        b"uring_override" | b"uring_sqpoll" | b"uring_cmd" => Class::IoUring,
        _ if operation.starts_with(b"dbus_") => Class::Dbus,
        _ => return None,
    };
    Some(class)
}

/// The class of an operation whose word does not settle it: `create`, `getattr` and `file_perm` are said of
/// sockets and of files.
fn of_keys(violation: &Violation<'_>) -> Class {
    if violation.family.is_some() {
        of_family(violation.family)
    } else if violation.capability.is_some() {
        Class::Capability
    } else if violation.signal.is_some() {
        Class::Signal
    } else if violation.rlimit.is_some() {
        Class::Rlimit
    } else if violation.name.is_some() && violation.requested_mask.is_some() {
        Class::File
    } else if violation.verdict == Verdict::Status {
        // AppArmor about itself, with no operation: that it starts, that a policy does not unpack.
        Class::Policy
    } else {
        Class::Other
    }
}

fn of_family(family: Option<&[u8]>) -> Class {
    if family == Some(b"unix") { Class::Unix } else { Class::Network }
}

#[cfg(test)]
mod tests {
    use super::super::violation::Origin;
    use super::*;

    #[test]
    fn classifies_with_and_without_the_kernels_word() {
        let plain = |operation: &'static str| {
            Violation::new(Verdict::Denied, Class::Other, Origin::File, operation.as_bytes())
        };
        let net = |operation, family: &'static str| Violation {
            family: Some(family.as_bytes()),
            ..plain(operation)
        };
        let file =
            |operation| Violation { name: Some(b"/x"), requested_mask: Some(b"r"), ..plain(operation) };
        let rows: &[(&str, Option<&str>, Violation<'_>, Class)] = &[
            ("open, new", Some("file"), file("open"), Class::File),
            ("open, old", None, file("open"), Class::File),
            ("exec, new", Some("file"), file("exec"), Class::Exec),
            ("exec, old", None, file("exec"), Class::Exec),
            ("link, new", Some("file"), file("link"), Class::Link),
            ("change_hat, new", Some("file"), plain("change_hat"), Class::ChangeProfile),
            ("change_onexec, old", None, plain("change_onexec"), Class::ChangeProfile),
            ("a hat that is no profile", Some("domain"), plain("setprocattr"), Class::ChangeProfile),
            ("getattr of a file, old", None, file("getattr"), Class::File),
            ("file_inherit of a file, old", None, file("file_inherit"), Class::File),
            ("file_inherit of a socket, old", None, net("file_inherit", "inet"), Class::Network),
            ("file_perm of a socket, new", Some("net"), net("file_perm", "unix"), Class::Unix),
            ("create a socket, new", Some("net"), net("create", "inet6"), Class::Network),
            ("create a socket, old", None, net("create", "netlink"), Class::Network),
            ("unix, old", None, net("connect", "unix"), Class::Unix),
            ("unix path seen as a file", Some("file"), file("connect"), Class::File),
            ("capable, new", Some("cap"), plain("capable"), Class::Capability),
            ("capable, old", None, plain("capable"), Class::Capability),
            ("pivotroot, new", Some("mount"), plain("pivotroot"), Class::Mount),
            ("signal", Some("signal"), plain("signal"), Class::Signal),
            ("ptrace, old", None, plain("ptrace"), Class::Ptrace),
            ("setrlimit", Some("rlimits"), plain("setrlimit"), Class::Rlimit),
            ("message queue", Some("posix_mqueue"), plain("open"), Class::Mqueue),
            ("user namespace", Some("namespace"), plain("userns_create"), Class::Userns),
            ("io_uring", Some("io_uring"), plain("uring_sqpoll"), Class::IoUring),
            ("dbus, old", None, plain("dbus_method_call"), Class::Dbus),
            ("dbus, new", Some("dbus"), plain("dbus_signal"), Class::Dbus),
            (
                "user namespace, a kernel without the word",
                Some("unknown"),
                plain("userns_create"),
                Class::Userns,
            ),
            ("bind, a kernel without the word", Some("unknown"), net("bind", "inet"), Class::Network),
            ("policy", Some("none"), plain("profile_load"), Class::Policy),
            ("policy, no class", None, plain("profile_replace"), Class::Policy),
            ("a class to come", Some("module"), plain("load_module"), Class::Other),
            ("an operation to come", None, plain("frobnicate"), Class::Other),
            ("no operation", None, plain(""), Class::Other),
            (
                "no operation, about itself",
                None,
                Violation { verdict: Verdict::Status, ..plain("") },
                Class::Policy,
            ),
        ];
        for (name, word, violation, want) in rows {
            assert_eq!(classify(word.map(str::as_bytes), violation), *want, "{name}");
        }
    }
}
