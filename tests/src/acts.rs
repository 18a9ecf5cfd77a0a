//! t
/// Act
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// p
    pub profile: &'static str,
    /// a
    pub provoke: &'static [&'static str],
}
const OPS: &[&[&str]] = &[
    &["open", "/lab/secret"],
    &["write", "/lab/secret"],
    &["create", "/lab/new"],
    &["truncate", "/lab/granted/file"],
    &["chmod", "/lab/secret"],
    &["rename", "/lab/new", "/lab/newer"],
    &["unlink", "/lab/newer"],
    &["unlink", "/lab/doomed"],
    &["link", "/lab/secret", "/lab/link"],
    &["lock", "/lab/secret"],
    &["exec", "/lab/not-a-program"],
    &["hostname"],
    &["chroot"],
    &["module"],
    &["nice"],
    &["rlimit", "2048"],
    &["io_uring"],
    &["mqueue", "/labqueue"],
    &["mount", "/lab/mnt"],
    &["bind", "/lab/granted", "/lab/mnt"],
    &["remount", "/lab/mnt"],
    &["private", "/lab/mnt"],
    &["umount", "/lab/mnt"],
    &["umount", "/lab/mnt"],
    &["pivot_root", "/lab/mnt"],
    &["signal", "{victim}"],
    &["ptrace", "{victim}"],
    &["userns"],
    &["change_profile", "lab-target"],
    &["change_profile", "no-such"],
    &["change_onexec", "lab-target"],
    &["change_hat", "nohat"],
    &["change_hat", "hat"],
    &["inet"],
    &["inet_dgram"],
    &["inet6"],
    &["netlink"],
    &["packet"],
    &["unix"],
    &["connect", "127.0.0.1:9"],
    &["unix_bind", "lab"],
    &["open", "/lab/audited"],
];
/// all
pub fn all() -> Vec<Act> {
    let mut v = Vec::new();
    for profile in ["lab-enforce", "lab-complain"] {
        for o in OPS {
            v.push(Act { profile, provoke: o });
        }
    }
    v.push(Act {
        profile: "lab-kill",
        provoke: &["open", "/lab/secret"],
    });
    v.push(Act {
        profile: "lab-kill",
        provoke: &["inet"],
    });
    v
}
