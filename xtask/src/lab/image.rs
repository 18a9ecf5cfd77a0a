//! The guest's root file system, as an initramfs: no disk, no boot loader.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::{Archive, Node};
use super::kernel::Kernel;
use super::podman;
use super::userland::{Userland, add_file};
use crate::place;
use crate::step::Step;

/// The network card's modules, in the order in which they can be inserted. What a kernel has built in, it
/// does not have as a file.
const MODULES: [&str; 8] = [
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/net/virtio_net",
];

/// Of `tests/guest`.
const PROFILES: [&str; 8] = [
    "alone.profiles",
    "lab.profiles",
    "late.profiles",
    "k8s.profiles",
    "k8s-gone.profiles",
    "k8s-late.profiles",
    "silent.profiles",
    "shop.profiles",
];
/// Programs for the authors' suite.
const PROGRAMS: [&str; 22] = [
    "usr/bin/bash",
    "usr/bin/curl",
    "usr/bin/gawk",
    "usr/bin/gzip",
    "usr/bin/node",
    "usr/bin/openssl",
    "usr/bin/perl",
    "usr/bin/python3.13",
    "usr/bin/redis-cli",
    "usr/bin/redis-server",
    "usr/bin/sed",
    "usr/bin/seq",
    "usr/bin/setpriv",
    "usr/bin/sort",
    "usr/bin/sqlite3",
    "usr/bin/tail",
    "usr/bin/tar",
    "usr/bin/wc",
    "usr/lib/postgresql/17/bin/initdb",
    "usr/lib/postgresql/17/bin/postgres",
    "usr/lib/postgresql/17/bin/psql",
    "usr/sbin/nginx",
];

/// What they read.
const TREES: [&str; 4] =
    ["usr/lib/postgresql/17/lib", "usr/lib/python3.13", "usr/share/nodejs", "usr/share/postgresql/17"];

/// Files that the acts work on: path, permissions, content.
const LAB_FILES: [(&str, u32, &str); 8] = [
    ("lab/secret", 0o644, "not for everyone\n"),
    ("lab/audited", 0o644, "readable, and reported\n"),
    ("lab/doomed", 0o644, "to be removed\n"),
    ("lab/granted/file", 0o644, "for everyone\n"),
    // Executable, but no program: AppArmor is asked, and then nothing runs.
    ("lab/not-a-program", 0o755, "\u{0}nothing\n"),
    ("lab/nowhere", 0o755, "\u{0}nothing\n"),
    ("lab/audited-transition", 0o755, "\u{0}nothing\n"),
    ("lab/mnt/empty", 0o644, ""),
];

/// What the guest has beside the lab's own programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Furnishing {
    /// Nothing.
    Bare,
    /// Servers, interpreters and tools as people run them.
    Programs,
    /// Podman, and what `cargo xtask dist` makes.
    Image,
}

/// Makes the image for a kernel; `programs` is the folder of our own ones.
pub(crate) fn build(kernel: &Kernel, programs: &Path, furnishing: Furnishing) -> Result<PathBuf> {
    let userland = Userland::get()?;
    let mut archive = Archive::default();
    archive.put("dev/console", Node::Device { major: 5, minor: 1 });
    for (from, to) in [("guest-init", "init"), ("provoke", "bin/provoke"), ("aa-monitor", "bin/aa-monitor")] {
        add_file(&mut archive, &programs.join(from), to)?;
    }
    userland.add_loader(&mut archive)?;
    userland.add(&mut archive, "usr/bin/busybox", "bin/busybox")?;
    userland.add(&mut archive, "usr/sbin/apparmor_parser", "sbin/apparmor_parser")?;
    userland.add(&mut archive, "usr/sbin/runc", "sbin/runc")?;
    userland.add(&mut archive, "usr/bin/crun", "sbin/crun")?;
    userland.add(&mut archive, "usr/sbin/auditd", "sbin/auditd")?;
    userland.add(&mut archive, "usr/sbin/auditctl", "sbin/auditctl")?;
    userland.add_policy(&mut archive)?;
    for applet in ["sh", "true"] {
        archive.put(&format!("bin/{applet}"), Node::Link("busybox".into()));
    }
    archive.put("etc/apparmor/parser.conf", Node::File { mode: 0o644, content: Vec::new() });
    for profiles in PROFILES {
        let from = place::workspace().join("tests/guest").join(profiles);
        add_file(&mut archive, &from, &format!("etc/apparmor.d/{profiles}"))?;
    }
    for (path, mode, content) in LAB_FILES {
        archive.put(path, Node::File { mode, content: content.into() });
    }
    if let Some(modules) = &kernel.modules {
        add_modules(&mut archive, modules)?;
    }
    let end = match furnishing {
        Furnishing::Bare => "",
        Furnishing::Programs => {
            furnish(&mut archive)?;
            "-programs"
        }
        Furnishing::Image => {
            podman::furnish(&mut archive, kernel.modules.as_deref())?;
            "-image"
        }
    };
    let path = place::lab().join("images").join(format!("{}{end}.cpio", kernel.name));
    write(&archive, &path).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Adds the programs of the authors' suite, and the users that servers look up.
fn furnish(archive: &mut Archive) -> Result<()> {
    let programs = Userland::programs()?;
    for program in PROGRAMS {
        programs.add(archive, program, program)?;
    }
    for tree in TREES {
        programs.add_tree(archive, tree)?;
    }
    // The libraries' own loader, should they be newer than the lab's.
    programs.add_loader(archive)?;
    for (path, content) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/:/bin/sh\npostgres:x:70:70:postgres:/lab/postgres:/bin/false\n\
             nobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\npostgres:x:70:\nnogroup:x:65534:\n"),
        ("lab/web/index.html", "hello\n"),
    ] {
        archive.put(path, Node::File { mode: 0o644, content: content.into() });
    }
    Ok(())
}

fn add_modules(archive: &mut Archive, folder: &Path) -> Result<()> {
    for (number, module) in MODULES.into_iter().enumerate() {
        add_module(archive, folder, module, number)?;
    }
    Ok(())
}

/// Adds a module where the kernel has it as a file. The guest inserts by the order of names, so of two digits.
pub(super) fn add_module(archive: &mut Archive, folder: &Path, module: &str, number: usize) -> Result<()> {
    let plain = folder.join("kernel").join(format!("{module}.ko"));
    let packed = folder.join("kernel").join(format!("{module}.ko.xz"));
    let content = if plain.exists() {
        fs::read(&plain).with_context(|| format!("reading {}", plain.display()))?
    } else if packed.exists() {
        unpack(&packed)?
    } else {
        return Ok(());
    };
    let name = module.rsplit('/').next().unwrap_or(module);
    archive.put(&format!("lib/modules/lab/{number:02}-{name}.ko"), Node::File { mode: 0o644, content });
    Ok(())
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let mut xz = Command::new("xz");
    xz.arg("--decompress").arg("--stdout").arg(path);
    let end = xz.output().context("starting xz; way out: apt-get install xz-utils")?;
    if !end.status.success() {
        let step = Step { name: "unpacking a kernel module", way_out: "delete target/lab/kernels" };
        return Err(step.failure(&xz, &String::from_utf8_lossy(&end.stderr)));
    }
    Ok(end.stdout)
}

fn write(archive: &Archive, path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::new(fs::File::create(path)?);
    archive.write(&mut out)?;
    out.flush()
}
