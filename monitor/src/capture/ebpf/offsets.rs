//! The offsets that the programs need, from BTF.

use aa_monitor_ebpf::{AD_MAX, Layout};

use super::btf::Btf;
use crate::node::Hierarchy;

/// Members without which there is no event worth sending. Either of the two label members will do.
const NEEDED: [&str; 9] = [
    "common_audit_data.type",
    "common_audit_data.apparmor_audit_data",
    "apparmor_audit_data.type",
    "apparmor_audit_data.op",
    "apparmor_audit_data.name",
    "aa_label.vec",
    "aa_profile.base.hname",
    "sk_buff.data",
    "task_struct.nvcsw",
];

/// Why this kernel's structures cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OffsetError {
    /// AppArmor is not built in, or is another one than any known.
    #[error("this kernel's BTF has no {0}: AppArmor is not built in, or its structures have changed")]
    Missing(&'static str),
    /// A structure outgrew the programs' buffers.
    #[error("struct apparmor_audit_data has {0} bytes, more than the {AD_MAX} that the programs read")]
    TooLarge(u32),
}

/// Looks up every member; what this kernel lacks stays absent.
pub(super) fn resolve(btf: &Btf<'_>, cgroups: Hierarchy) -> Result<Layout, OffsetError> {
    let mut layout = Layout::UNKNOWN;
    for (path, slot) in layout.members() {
        match btf.offset(path).and_then(|offset| u16::try_from(offset).ok()) {
            Some(offset) => *slot = offset,
            None if NEEDED.contains(&path) => return Err(OffsetError::Missing(path)),
            None => {}
        }
    }
    if layout.ad_label == aa_monitor_ebpf::ABSENT && layout.ad_subj_label == aa_monitor_ebpf::ABSENT {
        return Err(OffsetError::Missing("apparmor_audit_data.subj_label"));
    }
    layout.hierarchy = cgroups.number;
    layout.pids_css = if cgroups.is_v2() { aa_monitor_ebpf::ABSENT } else { pids_css(btf, &layout) };
    layout.audit_noquiet = btf
        .enumerator("audit_mode", "AUDIT_NOQUIET")
        .and_then(|mode| u16::try_from(mode).ok())
        .unwrap_or(aa_monitor_ebpf::ABSENT);
    let size = btf.size("apparmor_audit_data").unwrap_or(0);
    layout.ad_size = u16::try_from(size)
        .ok()
        .filter(|size| usize::from(*size) <= AD_MAX)
        .ok_or(OffsetError::TooLarge(size))?;
    Ok(layout)
}

/// Where a `struct css_set` points to the state of the `pids` controller.
fn pids_css(btf: &Btf<'_>, layout: &Layout) -> u16 {
    let number =
        btf.enumerator("cgroup_subsys_id", "pids_cgrp_id").and_then(|number| u16::try_from(number).ok());
    number.map_or(aa_monitor_ebpf::ABSENT, |number| {
        layout.css_set_subsys.saturating_add(number.saturating_mul(size_of::<u64>() as u16))
    })
}
