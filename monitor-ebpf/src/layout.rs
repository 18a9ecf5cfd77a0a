//! Offsets of the kernel's structures, in bytes, as the running kernel's BTF gives them.

/// The offset of a member that the running kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// Room for `struct apparmor_audit_data`: 152 bytes on 7.3, the largest seen.
pub const AD_MAX: usize = 256;

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident = $path:literal,)*) => {
        /// Where the programs find what they read. The agent fills it from BTF before it loads them; the
        /// programs see it as frozen constants, so reading it costs nothing and absent members cost no code.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct Layout {
            /// Size of `struct apparmor_audit_data`.
            pub ad_size: u16,
            /// Where `struct css_set` points to the state of the `pids` controller; [`ABSENT`] on cgroup v2,
            /// where a task has one cgroup and the kernel names it.
            pub pids_css: u16,
            /// The number of the cgroup hierarchy that is watched, as in /proc/self/cgroup; 0 is cgroup v2.
            pub hierarchy: u16,
            /// The first audit mode that reports what rules keep quiet (`AUDIT_NOQUIET`).
            pub audit_noquiet: u16,
            $($(#[$doc])* pub $name: u16,)*
        }

        impl Layout {
            /// Nothing known.
            pub const UNKNOWN: Self = Self {
                ad_size: 0,
                pids_css: ABSENT,
                hierarchy: 0,
                audit_noquiet: ABSENT,
                $($name: ABSENT,)*
            };

            /// The BTF path of each member (`struct.member.member`) and the slot that takes its offset.
            pub fn members(&mut self) -> impl Iterator<Item = (&'static str, &mut u16)> {
                let Self { ad_size: _, pids_css: _, hierarchy: _, audit_noquiet: _, $($name,)* } = self;
                [$(($path, $name),)*].into_iter()
            }
        }
    };
}

layout! {
    /// What kind of object the record is about (`LSM_AUDIT_DATA_*`).
    cad_type = "common_audit_data.type",
    /// The object itself.
    cad_u = "common_audit_data.u",
    /// AppArmor's half of the record. Set on every kernel, also where `common` is embedded in it.
    cad_ad = "common_audit_data.apparmor_audit_data",
    /// errno, negative.
    ad_error = "apparmor_audit_data.error",
    /// `enum audit_type`.
    ad_type = "apparmor_audit_data.type",
    /// `AA_CLASS_*`; absent before 6.7.
    ad_class = "apparmor_audit_data.class",
    /// Operation, a string constant.
    ad_op = "apparmor_audit_data.op",
    /// The credentials that were checked; absent before 6.7.
    ad_subj_cred = "apparmor_audit_data.subj_cred",
    /// The deciding label, up to 6.6.
    ad_label = "apparmor_audit_data.label",
    /// The deciding label, from 6.7.
    ad_subj_label = "apparmor_audit_data.subj_label",
    /// Object name.
    ad_name = "apparmor_audit_data.name",
    /// Reason in words.
    ad_info = "apparmor_audit_data.info",
    /// Requested permissions.
    ad_request = "apparmor_audit_data.request",
    /// Denied permissions.
    ad_denied = "apparmor_audit_data.denied",
    /// The other side's label.
    ad_peer = "apparmor_audit_data.peer",
    /// Link target or transition target.
    ad_fs_target = "apparmor_audit_data.fs.target",
    /// Owner of the object.
    ad_fs_ouid = "apparmor_audit_data.fs.ouid",
    /// Number of the resource limit.
    ad_rlim = "apparmor_audit_data.rlim.rlim",
    /// Value asked for.
    ad_rlim_max = "apparmor_audit_data.rlim.max",
    /// AppArmor's own signal index.
    ad_signal = "apparmor_audit_data.signal",
    /// The signal number as sent.
    ad_unmappedsig = "apparmor_audit_data.unmappedsig",
    /// Socket type.
    ad_net_type = "apparmor_audit_data.net.type",
    /// Socket protocol.
    ad_net_protocol = "apparmor_audit_data.net.protocol",
    /// Unix address.
    ad_net_addr = "apparmor_audit_data.net.addr",
    /// Length of the unix address.
    ad_net_addrlen = "apparmor_audit_data.net.addrlen",
    /// Peer's unix address; from 6.18.
    ad_net_peer_addr = "apparmor_audit_data.net.peer.addr",
    /// Length of the peer's unix address.
    ad_net_peer_addrlen = "apparmor_audit_data.net.peer.addrlen",
    /// Policy namespace of a policy operation.
    ad_iface_ns = "apparmor_audit_data.iface.ns",
    /// What is mounted.
    ad_mnt_src_name = "apparmor_audit_data.mnt.src_name",
    /// File system type.
    ad_mnt_type = "apparmor_audit_data.mnt.type",
    /// Profile that a pivot_root changes to.
    ad_mnt_trans = "apparmor_audit_data.mnt.trans",
    /// Mount options.
    ad_mnt_data = "apparmor_audit_data.mnt.data",
    /// Mount flags.
    ad_mnt_flags = "apparmor_audit_data.mnt.flags",
    /// Printable name; NULL for a compound label that was never printed.
    label_hname = "aa_label.hname",
    /// Its profiles.
    label_vec = "aa_label.vec",
    /// Profile name with its parents.
    profile_hname = "aa_profile.base.hname",
    /// Policy namespace.
    profile_ns = "aa_profile.ns",
    /// Namespace name with its parents.
    ns_hname = "aa_ns.base.hname",
    /// Depth; 0 is the root namespace.
    ns_level = "aa_ns.level",
    /// The socket, when there is one.
    net_sk = "lsm_network_audit.sk",
    /// Address family.
    net_family = "lsm_network_audit.family",
    /// Destination port, network order.
    net_dport = "lsm_network_audit.dport",
    /// Source port, network order.
    net_sport = "lsm_network_audit.sport",
    /// IPv4 destination.
    net_v4_daddr = "lsm_network_audit.fam.v4.daddr",
    /// IPv4 source.
    net_v4_saddr = "lsm_network_audit.fam.v4.saddr",
    /// IPv6 destination.
    net_v6_daddr = "lsm_network_audit.fam.v6.daddr",
    /// IPv6 source.
    net_v6_saddr = "lsm_network_audit.fam.v6.saddr",
    /// Address family of a socket.
    skc_family = "sock_common.skc_family",
    /// Foreign IPv4 address.
    skc_daddr = "sock_common.skc_daddr",
    /// Local IPv4 address.
    skc_rcv_saddr = "sock_common.skc_rcv_saddr",
    /// Foreign port, network order.
    skc_dport = "sock_common.skc_dport",
    /// Local port, host order.
    skc_num = "sock_common.skc_num",
    /// Foreign IPv6 address.
    skc_v6_daddr = "sock_common.skc_v6_daddr",
    /// Local IPv6 address.
    skc_v6_rcv_saddr = "sock_common.skc_v6_rcv_saddr",
    /// The buffer that holds the audit record.
    ab_skb = "audit_buffer.skb",
    /// Its bytes.
    skb_data = "sk_buff.data",
    /// Thread group leader.
    task_group_leader = "task_struct.group_leader",
    /// Start time since boot.
    task_start_boottime = "task_struct.start_boottime",
    /// Process id in the initial pid namespace.
    task_tgid = "task_struct.tgid",
    /// Its cgroups.
    task_cgroups = "task_struct.cgroups",
    /// Its cgroup on v2.
    css_set_dfl_cgrp = "css_set.dfl_cgrp",
    /// Its states of controllers, one a controller.
    css_set_subsys = "css_set.subsys",
    /// The cgroup that a controller's state is of.
    css_cgroup = "cgroup_subsys_state.cgroup",
    /// The cgroup's directory.
    cgroup_kn = "cgroup.kn",
    /// The cgroup's hierarchy.
    cgroup_root = "cgroup.root",
    /// The hierarchy's number.
    cgroup_root_hierarchy_id = "cgroup_root.hierarchy_id",
    /// The directory's inode number.
    kernfs_node_id = "kernfs_node.id",
    /// Effective credentials.
    task_cred = "task_struct.cred",
    /// How often it gave up the CPU of its own accord.
    task_nvcsw = "task_struct.nvcsw",
    /// `common_audit_data` inside of AppArmor's half, from 6.7.
    ad_common = "apparmor_audit_data.common",
    /// Granted permissions.
    perms_allow = "aa_perms.allow",
    /// Permissions whose denial is not reported.
    perms_quiet = "aa_perms.quiet",
    /// The profile's audit mode.
    profile_audit = "aa_profile.audit",
    /// `enum profile_mode`.
    profile_mode = "aa_profile.mode",
    /// File system uid, in the initial user namespace.
    cred_fsuid = "cred.fsuid",
}

#[cfg(test)]
mod tests {
    use super::{ABSENT, Layout};

    #[test]
    fn every_member_has_its_own_slot() {
        let mut layout = Layout::UNKNOWN;
        for (i, (_, slot)) in layout.members().enumerate() {
            assert_eq!(*slot, ABSENT);
            *slot = u16::try_from(i).unwrap();
        }
        let slots: Vec<u16> = layout.members().map(|(_, slot)| *slot).collect();
        assert_eq!(slots, (0..u16::try_from(slots.len()).unwrap()).collect::<Vec<_>>());
        assert_eq!(
            size_of::<Layout>(),
            2 * (slots.len() + 4),
            "no padding: the agent hands it over as bytes"
        );
    }
}
