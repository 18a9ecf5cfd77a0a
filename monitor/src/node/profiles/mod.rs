//! The profiles that are loaded on this node, read anew whenever policy has changed.

mod attachment;
mod features;
mod inventory;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch as channel};

pub use self::attachment::Attachments;
pub use self::features::Features;
pub use self::inventory::Inventory;
use crate::record::{Verdict, Violation};

/// Where the kernel shows its policy.
const FOLDER: &str = "/sys/kernel/security/apparmor";

/// What can happen to a profile, in the kernel's words (`OP_PROF_LOAD` and its like,
/// security/apparmor/include/audit.h).
pub const CHANGES: [&str; 3] = ["profile_load", "profile_replace", "profile_remove"];

/// The loaded profiles as far as they can be read.
#[derive(Debug)]
pub struct Profiles {
    inventory: Mutex<Result<Arc<Inventory>, String>>,
    features: Features,
    changes: [AtomicU64; CHANGES.len()],
    /// Somebody saw a change; read again.
    nudge: Notify,
    /// Counts the readings that said something new.
    version: channel::Sender<u64>,
}

impl Profiles {
    /// Nothing read yet but what cannot change.
    pub fn new() -> Self {
        Self {
            inventory: Mutex::new(Err("not read yet".to_owned())),
            features: Features::read(&Path::new(FOLDER).join("features")),
            changes: Default::default(),
            nudge: Notify::new(),
            version: channel::Sender::new(0),
        }
    }

    /// What is loaded; or why that is not known.
    pub fn inventory(&self) -> Result<Arc<Inventory>, String> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this kernel's AppArmor can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// How often policy changed, by the records of it, in the order of [`CHANGES`].
    pub fn changes(&self) -> [u64; CHANGES.len()] {
        self.changes.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts a change of policy that a record tells of, and has the profiles read anew.
    pub fn observe(&self, violation: &Violation<'_>) {
        if violation.verdict != Verdict::Status {
            return;
        }
        let at = CHANGES.iter().position(|change| change.as_bytes() == violation.operation);
        if let Some(count) = at.and_then(|at| self.changes.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
            self.nudge.notify_one();
        }
    }

    /// Tells when the inventory is another one.
    pub fn subscribe(&self) -> channel::Receiver<u64> {
        self.version.subscribe()
    }

    /// Takes what was read.
    pub(crate) fn set(&self, read: Result<Inventory, String>) {
        let mut inventory = self.inventory.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (&*inventory, &read) {
            (Ok(before), Ok(now)) => **before == *now,
            (Err(before), Err(now)) => before == now,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if same {
            return;
        }
        *inventory = read.map(Arc::new);
        drop(inventory);
        self.version.send_modify(|version| *version += 1);
    }
}

impl Default for Profiles {
    fn default() -> Self {
        Self::new()
    }
}

pub use self::watch::run;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Class, Origin};

    #[test]
    fn records_of_policy_are_counted_and_nothing_else_is() {
        let profiles = Profiles::new();
        for (verdict, operation) in [
            (Verdict::Status, "profile_load"),
            (Verdict::Status, "profile_replace"),
            (Verdict::Status, "profile_replace"),
            (Verdict::Status, "profile_frobnicate"),
            (Verdict::Denied, "profile_remove"),
            (Verdict::Denied, "open"),
        ] {
            profiles.observe(&Violation::new(verdict, Class::Policy, Origin::Ebpf, operation.as_bytes()));
        }
        assert_eq!(profiles.changes(), [1, 2, 0]);
    }

    #[test]
    fn only_another_inventory_is_news() {
        let profiles = Profiles::new();
        let mut news = profiles.subscribe();
        for (name, read, want) in [
            ("first", Ok(&b"a (enforce)\n"[..]), true),
            ("the same", Ok(b"a (enforce)\n"), false),
            ("another mode", Ok(b"a (complain)\n"), true),
            ("not readable any more", Err("gone".to_owned()), true),
            ("still not", Err("gone".to_owned()), false),
        ] {
            profiles.set(read.map(Inventory::parse));
            assert_eq!(news.has_changed().unwrap(), want, "{name}");
            news.mark_unchanged();
        }
    }
}
