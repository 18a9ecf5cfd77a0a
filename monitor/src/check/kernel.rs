//! The kernel's word on AppArmor, and what can blind those who read its records. Pure but for `read`.

use super::Finding;
use crate::node::profiles::{Features, Inventory};
use std::path::Path;

const SECURITYFS: &str = "/sys/kernel/security/apparmor";

/// The text of a file, if it is there and may be read.
pub(super) trait Read: Fn(&str) -> Option<String> {}
impl<F: Fn(&str) -> Option<String>> Read for F {}

/// Whether there is anything to count.
pub(super) fn apparmor(read: &impl Read) -> Vec<Finding> {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "of unknown version".to_owned());
    let enabled = read("/sys/module/apparmor/parameters/enabled");
    match enabled.as_deref() {
        Some("Y") => vec![
            Finding::ok("apparmor", format!("enabled; kernel {release}")),
            features(&Features::read(&Path::new(SECURITYFS).join("features"))),
            profiles(read),
        ],
        Some(_) => vec![Finding::fail(
            "apparmor",
            format!("built into kernel {release} and not enabled: there is nothing to count"),
            "boot with apparmor=1 security=apparmor",
        )],
        None => vec![Finding::fail(
            "apparmor",
            format!("not in kernel {release}: there is nothing to count"),
            "run a kernel with CONFIG_SECURITY_APPARMOR",
        )],
    }
}

fn features(features: &Features) -> Finding {
    let Features { classes, abi } = features;
    if classes.is_empty() {
        return Finding::warn(
            "features",
            "not known what this kernel mediates",
            format!("mount securityfs where {SECURITYFS} can be read"),
        );
    }
    let abi = abi.map_or_else(|| "an unknown policy ABI".to_owned(), |abi| format!("policy ABI v{abi}"));
    Finding::ok("features", format!("{abi}; mediates {}", classes.join(" ")))
}

fn profiles(read: &impl Read) -> Finding {
    match read(&format!("{SECURITYFS}/profiles")) {
        Some(text) => {
            let inventory = Inventory::parse(text.as_bytes());
            Finding::ok("profiles", format!("{} loaded", inventory.len()))
        }
        None => Finding::warn(
            "profiles",
            format!("{SECURITYFS}/profiles cannot be read: no inventory, and no missing profile is noticed"),
            "run as root (user or group 0), with securityfs mounted",
        ),
    }
}

/// AppArmor's own switches, each of which can make it fall silent.
pub(super) fn parameters(read: &impl Read, ebpf_works: bool) -> Vec<Finding> {
    let parameter = |name: &str| read(&format!("/sys/module/apparmor/parameters/{name}"));
    let unknown = |check, what: &str| {
        Finding::warn(check, format!("not known: the parameter {what} cannot be read"), "run as root")
    };
    let mode = match parameter("mode").as_deref() {
        None => unknown("mode", "mode"),
        Some("enforce") => Finding::ok("mode", "enforce: each profile in its own mode"),
        Some("complain") => Finding::warn(
            "mode",
            "complain: no profile of this node enforces",
            "echo enforce > /sys/module/apparmor/parameters/mode",
        ),
        Some(other) => Finding::warn(
            "mode",
            format!("{other}: not what profiles say, but this, happens to all of them"),
            "echo enforce > /sys/module/apparmor/parameters/mode",
        ),
    };
    let audit = match parameter("audit").as_deref() {
        None => unknown("audit mode", "audit"),
        Some(word @ ("quiet" | "quiet_denied")) => Finding::fail(
            "audit mode",
            format!("{word}: AppArmor reports no denial to anybody, eBPF included"),
            "echo normal > /sys/module/apparmor/parameters/audit",
        ),
        Some("all") => Finding::warn(
            "audit mode",
            "all: AppArmor reports what it allows, too, which may be more than can be kept up with",
            "echo normal > /sys/module/apparmor/parameters/audit",
        ),
        Some(word) => Finding::ok("audit mode", word),
    };
    let header = match parameter("audit_header").as_deref() {
        None => unknown("audit header", "audit_header"),
        Some("Y") => Finding::ok("audit header", "records say apparmor=\"...\""),
        Some(_) => {
            let what = "off: records lack apparmor=\"...\", and no reader of logs or of the audit stream can \
                        tell them from others";
            let advice = "echo 1 > /sys/module/apparmor/parameters/audit_header";
            match ebpf_works {
                true => Finding::warn("audit header", what, advice),
                false => Finding::fail("audit header", what, advice),
            }
        }
    };
    vec![mode, audit, header]
}

/// What can keep programs from being loaded.
pub(super) fn restrictions(read: &impl Read) -> Vec<Finding> {
    let btf = match Path::new("/sys/kernel/btf/vmlinux").exists() {
        true => Finding::ok("btf", "/sys/kernel/btf/vmlinux"),
        false => Finding::warn(
            "btf",
            "no /sys/kernel/btf/vmlinux: eBPF programs cannot find this kernel's structures",
            "run a kernel with CONFIG_DEBUG_INFO_BTF; the audit stream does without",
        ),
    };
    vec![btf, lockdown(read("/sys/kernel/security/lockdown").as_deref())]
}

fn lockdown(file: Option<&str>) -> Finding {
    let level = file.and_then(|text| text.split_once('[')?.1.split_once(']')).map(|(level, _)| level);
    match level {
        Some("confidentiality") => Finding::warn(
            "lockdown",
            "confidentiality: no program may read kernel memory, so there is no eBPF source",
            "boot with lockdown=integrity, or do with the audit stream",
        ),
        Some(level) => Finding::ok("lockdown", level),
        None => Finding::ok("lockdown", "this kernel has none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    fn of(findings: &[Finding], check: &str) -> Status {
        findings.iter().find(|finding| finding.check == check).expect("it is looked at").status
    }

    #[test]
    fn each_switch_that_can_blind_is_told() {
        for (parameter, value, check, with_ebpf, without) in [
            ("mode", Some("enforce"), "mode", Status::Ok, Status::Ok),
            ("mode", Some("complain"), "mode", Status::Warn, Status::Warn),
            ("mode", Some("kill"), "mode", Status::Warn, Status::Warn),
            ("mode", None, "mode", Status::Warn, Status::Warn),
            ("audit", Some("normal"), "audit mode", Status::Ok, Status::Ok),
            ("audit", Some("quiet"), "audit mode", Status::Fail, Status::Fail),
            ("audit", Some("quiet_denied"), "audit mode", Status::Fail, Status::Fail),
            ("audit", Some("all"), "audit mode", Status::Warn, Status::Warn),
            ("audit", Some("noquiet"), "audit mode", Status::Ok, Status::Ok),
            ("audit_header", Some("Y"), "audit header", Status::Ok, Status::Ok),
            ("audit_header", Some("N"), "audit header", Status::Warn, Status::Fail),
            ("audit_header", None, "audit header", Status::Warn, Status::Warn),
        ] {
            let path = format!("/sys/module/apparmor/parameters/{parameter}");
            let read = |asked: &str| (asked == path).then(|| value.map(str::to_owned)).flatten();
            for (ebpf, want) in [(true, with_ebpf), (false, without)] {
                assert_eq!(of(&parameters(&read, ebpf), check), want, "{parameter}={value:?}, eBPF {ebpf}");
            }
        }
    }

    #[test]
    fn without_apparmor_there_is_nothing_to_do() {
        for (value, want) in [(Some("Y"), Status::Ok), (Some("N"), Status::Fail), (None, Status::Fail)] {
            let read = |path: &str| path.ends_with("/enabled").then(|| value.map(str::to_owned)).flatten();
            assert_eq!(of(&apparmor(&read), "apparmor"), want, "{value:?}");
        }
    }

    #[test]
    fn the_level_of_lockdown_is_the_one_in_brackets() {
        for (file, want) in [
            (Some("[none] integrity confidentiality"), Status::Ok),
            (Some("none [integrity] confidentiality"), Status::Ok),
            (Some("none integrity [confidentiality]"), Status::Warn),
            (None, Status::Ok),
        ] {
            assert_eq!(lockdown(file).status, want, "{file:?}");
        }
    }
}
