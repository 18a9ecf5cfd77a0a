//! The node: what its kernel says about AppArmor as a whole, and whether its containers run as they asked to.

pub mod confinement;
mod hierarchy;
pub mod label;
pub mod labels;
mod parameters;
pub mod profiles;
mod users;

use std::fs;
use std::sync::Arc;

use self::confinement::Confinement;
pub use self::hierarchy::Hierarchy;
pub use self::parameters::parameters;
pub use self::profiles::Attachments;
use self::profiles::Profiles;
pub use self::users::bus_users;

/// What is known of this node.
#[derive(Debug, Default)]
pub struct Node {
    /// The loaded profiles.
    pub profiles: Arc<Profiles>,
    /// How the containers are confined.
    pub confinement: Arc<Confinement>,
}

/// Whether the running kernel enforces AppArmor: built in, and neither switched off nor left out at boot.
pub fn apparmor_enabled() -> bool {
    // security/apparmor/lsm.c: aa_enabled prints Y or N; the file is missing without CONFIG_SECURITY_APPARMOR.
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}
