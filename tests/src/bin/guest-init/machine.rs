//! File systems, modules, network: what a kernel needs to be a machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use aa_monitor_tests::acts::Act;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::chroot;

/// Type, where, and whether a kernel without it can go on.
const FILE_SYSTEMS: [(&str, &str, bool); 9] = [
    ("proc", "/proc", true),
    ("sysfs", "/sys", true),
    ("devtmpfs", "/dev", true),
    ("devpts", "/dev/pts", false),
    ("tmpfs", "/tmp", true),
    ("securityfs", "/sys/kernel/security", true),
    ("bpf", "/sys/fs/bpf", false),
    ("cgroup2", "/sys/fs/cgroup", false),
    // For an act that unmounts something.
    ("tmpfs", "/lab/spare", true),
];

/// What the scenarios count on, whatever the distribution's defaults are.
const SETTINGS: [(&str, &str); 3] = [
    // With Yama in the way, AppArmor would be asked for CAP_SYS_PTRACE first.
    ("/proc/sys/kernel/yama/ptrace_scope", "0"),
    // The kernel log is the witness: nothing of it may be left out.
    ("/proc/sys/kernel/printk_ratelimit", "0"),
    ("/proc/sys/kernel/printk_devkmsg", "on\n"),
];

const FEATURES: &str = "/sys/kernel/security/apparmor/features";

/// Sets the machine up and returns the kernel command line.
pub(crate) fn set_up() -> Result<String> {
    leave_initramfs()?;
    for (kind, at, needed) in FILE_SYSTEMS {
        let result = fs::create_dir_all(at)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)?));
        // The kernel may have mounted /dev itself.
        let there = result.is_ok() || result.as_ref().is_err_and(|e| e.downcast_ref() == Some(&Errno::EBUSY));
        ensure!(there || !needed, "mounting {kind} on {at}: {result:?}");
    }
    for (link, target) in [("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0")] {
        if !Path::new(link).exists() {
            symlink(target, link).with_context(|| format!("making {link}"))?;
        }
    }
    for (path, value) in SETTINGS {
        if Path::new(path).exists() {
            fs::write(path, value).with_context(|| format!("writing {value} to {path}"))?;
        }
    }
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    ensure!(enabled.trim() == "Y", "this kernel has no AppArmor, or it is off");
    insert_modules("/lib/modules/lab")?;
    bring_up_network()?;
    fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")
}

/// Moves to a root of its own: the first one cannot be left by pivot_root, which is how runc enters a
/// container's.
fn leave_initramfs() -> Result<()> {
    const NEW: &str = "/new";
    fs::create_dir(NEW).with_context(|| format!("making {NEW}"))?;
    mount(Some("root"), NEW, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("mounting a new root")?;
    let mut copy = vec!["cp", "-a", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/lab", "/dev"];
    // Only where real programs are played.
    copy.extend(Path::new("/usr").exists().then_some("/usr"));
    copy.push(NEW);
    busybox(&copy)?;
    std::env::set_current_dir(NEW).context("entering the new root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).context("moving the new root")?;
    chroot(".").context("changing to the new root")?;
    std::env::set_current_dir("/").context("entering the new root")
}

/// Inserts what the host put there, in the order of the file names.
fn insert_modules(folder: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let file = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        finit_module(file, c"", ModuleInitFlags::empty())
            .with_context(|| format!("inserting {}", path.display()))?;
    }
    Ok(())
}

/// The addresses are those of QEMU's user-mode network.
fn bring_up_network() -> Result<()> {
    busybox(&["ip", "link", "set", "lo", "up"])?;
    if Path::new("/sys/class/net/eth0").exists() {
        busybox(&["ip", "link", "set", "eth0", "up"])?;
        busybox(&["ip", "addr", "add", "10.0.2.15/24", "dev", "eth0"])?;
        busybox(&["ip", "route", "add", "default", "via", "10.0.2.2"])?;
    }
    Ok(())
}

fn busybox(arguments: &[&str]) -> Result<()> {
    // Inherited, for there is no /dev/null at first.
    let mut command = Command::new("/bin/busybox");
    let end = command.args(arguments).stdin(Stdio::inherit()).output().context("starting busybox")?;
    ensure!(
        end.status.success(),
        "busybox {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&end.stderr).trim()
    );
    Ok(())
}

/// Whether this kernel asks AppArmor about an act.
pub(crate) fn supported(act: &Act) -> bool {
    act.needs.is_none_or(|feature| Path::new(FEATURES).join(feature).exists())
}

/// Whether the kernel keeps audit records (it does not when booted with `audit=0`).
pub(crate) fn auditing() -> Result<bool> {
    let command_line = fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
    Ok(!command_line.split_ascii_whitespace().any(|word| word == "audit=0"))
}

/// Makes it a machine that has cgroup v1 only, as `systemd.unified_cgroup_hierarchy=0` does.
pub(crate) fn mount_cgroup_v1() -> Result<()> {
    const AT: &str = "/sys/fs/cgroup";
    const HIERARCHIES: [&str; 5] = ["pids", "memory", "devices", "freezer", "cpu"];
    umount2(AT, MntFlags::MNT_DETACH).context("unmounting cgroup v2")?;
    mount(Some("cgroup"), AT, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("mounting a tmpfs")?;
    for controller in HIERARCHIES.into_iter().chain(["systemd"]) {
        let at = Path::new(AT).join(controller);
        fs::create_dir(&at)?;
        let options = if controller == "systemd" { "none,name=systemd" } else { controller };
        match mount(Some("cgroup"), &at, Some("cgroup"), MsFlags::empty(), Some(options)) {
            // A controller without its v1 half (memory on 7.3); containers are told apart by pids.
            Err(Errno::EINVAL) if !["pids", "systemd"].contains(&controller) => fs::remove_dir(&at)?,
            result => result.with_context(|| format!("mounting the v1 hierarchy {controller}"))?,
        }
    }
    Ok(())
}
