//! Rules that nobody should take over without a thought, and why.

use super::rule::{MountKind, Rule};

/// Why an author should look twice at `rule`; None for most.
pub(crate) fn review(rule: &Rule) -> Option<&'static str> {
    match rule {
        Rule::Capability { name: None } => Some("every capability"),
        Rule::Capability { name: Some(name) } => match name.as_str() {
            "sys_admin" => Some("sys_admin is nearly all that root can do"),
            "mac_admin" | "mac_override" => Some("whoever can change policy is not confined by it"),
            "sys_module" => Some("whoever can load kernel code is not confined"),
            "sys_rawio" => Some("raw access to memory and devices"),
            "sys_ptrace" => Some("reads and changes other processes"),
            _ => None,
        },
        Rule::Mount { how: MountKind::Mount, source: None, target: None, .. } => Some("any mount anywhere"),
        Rule::Mount { how: MountKind::Mount, .. } | Rule::PivotRoot { .. } => {
            Some("paths mean something else after a mount")
        }
        Rule::Ptrace { peer: None, .. } => Some("any process"),
        Rule::Ptrace { access, .. } if access.is_empty() || access.contains("trace") => {
            Some("traces: full control over the other process")
        }
        Rule::File { path, exec, perms, .. } => {
            let writes = perms.contains(&'w') || perms.contains(&'a');
            if exec.as_ref().is_some_and(|exec| exec.how.to_ascii_lowercase().ends_with("ux")) {
                Some("runs unconfined")
            } else if writes && path.text == "/" {
                Some("stands for files that never had a path, such as huge pages")
            } else if writes && path.text == "/**" {
                Some("writes everywhere")
            } else if writes && (path.text.starts_with("/proc/sys/") || path.text.starts_with("@{PROC}/sys/"))
            {
                Some("changes settings of the kernel")
            } else if writes
                && ["/etc/shadow", "/etc/passwd", "/etc/ld.so.preload"].contains(&path.text.as_str())
            {
                Some("whoever writes this becomes anyone")
            } else if writes && exec.is_some() {
                Some("writes what it executes")
            } else {
                None
            }
        }
        Rule::ChangeProfile { target: None } => Some("any profile"),
        Rule::ChangeProfile { target: Some(target) } if target.text == "unconfined" => {
            Some("leaves confinement")
        }
        Rule::Userns => Some("a user namespace opens kernel code that only root reaches otherwise"),
        Rule::All => Some("everything"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suggest::profile::rule_of;

    #[test]
    fn risky_rules_are_marked_and_others_are_not() {
        for (text, want) in [
            ("/x ux", true),
            ("/x pux", true),
            ("/x ix", false),
            ("capability sys_admin", true),
            ("capability mac_admin", true),
            ("capability sys_module", true),
            ("capability chown", false),
            ("mount", true),
            ("mount options=(rw, bind) /a/ -> /b/", true),
            ("umount /a/", false),
            ("ptrace", true),
            ("ptrace (read)", true),
            ("ptrace (read) peer=x", false),
            ("ptrace (trace) peer=x", true),
            ("/** w", true),
            ("owner / rw", true),
            ("/ r", false),
            ("/** r", false),
            ("/proc/sys/net/core/somaxconn w", true),
            ("@{PROC}/sys/kernel/x rw", true),
            ("/proc/sys/net/core/somaxconn r", false),
            ("change_profile -> unconfined", true),
            ("change_profile -> other", false),
            ("signal (send) peer=x", false),
        ] {
            let rule = rule_of(text).unwrap_or_else(|| panic!("{text} is a rule"));
            assert_eq!(review(&rule).is_some(), want, "{text}");
        }
    }
}
