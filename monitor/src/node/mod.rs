//! The node: what its kernel says about AppArmor as a whole, and whether its containers run as they asked to.

pub mod label;
pub mod profiles;

use std::fs;

/// Whether the running kernel enforces AppArmor: built in, and neither switched off nor left out at boot.
pub fn apparmor_enabled() -> bool {
    // security/apparmor/lsm.c: aa_enabled prints Y or N; the file is missing without CONFIG_SECURITY_APPARMOR.
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}
