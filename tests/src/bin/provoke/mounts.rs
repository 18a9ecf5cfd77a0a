//! mount, remount, umount, pivot_root.

use nix::mount::{MsFlags, mount, umount};
use nix::unistd::pivot_root;

use crate::Operation;
use crate::Perform::{One, Two};

const NONE: Option<&str> = None;

pub(crate) const OPERATIONS: &[Operation] = &[
    ("mount", "DIRECTORY", One(|at| mount(Some("lab"), at, Some("tmpfs"), MsFlags::MS_NOSUID, NONE))),
    ("bind", "FROM TO", Two(|from, to| mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE))),
    ("remount", "DIRECTORY", One(|at| mount(NONE, at, NONE, MsFlags::MS_REMOUNT, NONE))),
    ("private", "DIRECTORY", One(|at| mount(NONE, at, NONE, MsFlags::MS_PRIVATE, NONE))),
    ("umount", "DIRECTORY", One(umount)),
    // Fails after AppArmor was asked as long as the directory is no mount point.
    ("pivot_root", "DIRECTORY", One(|at| pivot_root(at, at))),
];
