//! What the guest runs beside our own programs: busybox, apparmor_parser, runc, crun and auditd, with their
//! libraries.
//!
//! They are Debian's (trixie), not this machine's: an old parser does not know what a new kernel mediates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::{Archive, Node};
use super::unpacked;
use crate::place;
use crate::step::Step;

/// Changes when the list below does.
const FOLDER: &str = "userland-4";
const PACKAGES: [&str; 25] = [
    "apparmor/trixie",
    "auditd/trixie",
    "busybox-static/trixie",
    "crun/trixie",
    "libaudit1/trixie",
    "libauparse0t64/trixie",
    "libc6/trixie",
    "libcap-ng0/trixie",
    "libcap2/trixie",
    "libcom-err2/trixie",
    "libgcc-s1/trixie",
    "libgcrypt20/trixie",
    "libgssapi-krb5-2/trixie",
    "libk5crypto3/trixie",
    "libkeyutils1/trixie",
    "libkrb5-3/trixie",
    "libkrb5support0/trixie",
    "libnsl2/trixie",
    "libseccomp2/trixie",
    "libssl3t64/trixie",
    "libsystemd0/trixie",
    "libtirpc3t64/trixie",
    "libwrap0/trixie",
    "libyajl2/trixie",
    "runc/trixie",
];
/// Changes when the list below does.
const PROGRAMS_FOLDER: &str = "userland-programs-2";
const PROGRAMS: [&str; 83] = [
    "bash/trixie",
    "coreutils/trixie",
    "curl/trixie",
    "gawk/trixie",
    "gzip/trixie",
    "libacl1/trixie",
    "libatomic1/trixie",
    "libattr1/trixie",
    "libaudit1/trixie",
    "libbrotli1/trixie",
    "libbz2-1.0/trixie",
    "libc6/trixie",
    "libcap-ng0/trixie",
    "libcap2/trixie",
    "libcares2/trixie",
    "libcom-err2/trixie",
    "libcrypt1/trixie",
    "libcurl4t64/trixie",
    "libexpat1/trixie",
    "libffi8/trixie",
    "libgcc-s1/trixie",
    "libgmp10/trixie",
    "libgnutls30t64/trixie",
    "libgssapi-krb5-2/trixie",
    "libhogweed6t64/trixie",
    "libicu76/trixie",
    "libidn2-0/trixie",
    "libjemalloc2/trixie",
    "libk5crypto3/trixie",
    "libkeyutils1/trixie",
    "libkrb5-3/trixie",
    "libkrb5support0/trixie",
    "libldap2/trixie",
    "liblz4-1/trixie",
    "liblzf1/trixie",
    "liblzma5/trixie",
    "libmd0/trixie",
    "libmpfr6/trixie",
    "libnettle8t64/trixie",
    "libnghttp2-14/trixie",
    "libnghttp3-9/trixie",
    "libnode115/trixie",
    "libp11-kit0/trixie",
    "libpam0g/trixie",
    "libpcre2-8-0/trixie",
    "libpq5/trixie",
    "libpsl5t64/trixie",
    "libpython3.13-minimal/trixie",
    "libreadline8t64/trixie",
    "librtmp1/trixie",
    "libsasl2-2/trixie",
    "libselinux1/trixie",
    "libsigsegv2/trixie",
    "libsqlite3-0/trixie",
    "libssh2-1t64/trixie",
    "libssl3t64/trixie",
    "libstdc++6/trixie",
    "libsystemd0/trixie",
    "libtasn1-6/trixie",
    "libtinfo6/trixie",
    "libunistring5/trixie",
    "libuv1t64/trixie",
    "libxml2/trixie",
    "libxxhash0/trixie",
    "libzstd1/trixie",
    "nginx/trixie",
    "node-acorn/trixie",
    "node-cjs-module-lexer/trixie",
    "node-minimatch/trixie",
    "node-undici/trixie",
    "nodejs/trixie",
    "openssl/trixie",
    "perl-base/trixie",
    "postgresql-17/trixie",
    "postgresql-client-17/trixie",
    "python3.13-minimal/trixie",
    "redis-server/trixie",
    "redis-tools/trixie",
    "sed/trixie",
    "sqlite3/trixie",
    "tar/trixie",
    "util-linux/trixie",
    "zlib1g/trixie",
];
/// Changes when the list below does.
const PODMAN_FOLDER: &str = "userland-podman-1";
const PODMAN: [&str; 30] = [
    "conmon/trixie",
    "golang-github-containers-common/trixie",
    "golang-github-containers-image/trixie",
    "libacl1/trixie",
    "libassuan9/trixie",
    "libatomic1/trixie",
    "libattr1/trixie",
    "libaudit1/trixie",
    "libbsd0/trixie",
    "libbz2-1.0/trixie",
    "libc6/trixie",
    "libcap-ng0/trixie",
    "libcap2/trixie",
    "libcrypt1/trixie",
    "libgcc-s1/trixie",
    "libglib2.0-0t64/trixie",
    "libgpg-error0/trixie",
    "libgpgme11t64/trixie",
    "libmd0/trixie",
    "libpam0g/trixie",
    "libpcre2-8-0/trixie",
    "libseccomp2/trixie",
    "libselinux1/trixie",
    "libsemanage2/trixie",
    "libsepol2/trixie",
    "libsqlite3-0/trixie",
    "libsubid5/trixie",
    "libsystemd0/trixie",
    "netavark/trixie",
    "podman/trixie",
];
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The unpacked packages.
#[derive(Debug)]
pub(crate) struct Userland(PathBuf);

impl Userland {
    /// Fetches the packages when they are not here yet.
    pub(crate) fn get() -> Result<Self> {
        unpacked::folder("the guest's userland", place::lab().join(FOLDER), &PACKAGES).map(Self)
    }

    /// The same of the packages that the authors' suite runs.
    pub(crate) fn programs() -> Result<Self> {
        let what = "the programs of the authors' suite";
        unpacked::folder(what, place::lab().join(PROGRAMS_FOLDER), &PROGRAMS).map(Self)
    }

    /// The same of podman's.
    pub(crate) fn podman() -> Result<Self> {
        unpacked::folder("podman", place::lab().join(PODMAN_FOLDER), &PODMAN).map(Self)
    }

    /// Adds a program of the packages to an image, with the loader and the libraries it needs.
    pub(crate) fn add(&self, archive: &mut Archive, program: &str, to: &str) -> Result<()> {
        let path = self.0.join(program);
        add_file(archive, &path, to)?;
        for library in self.libraries(&path)? {
            let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            add_file(archive, &library, &format!("lib/x86_64-linux-gnu/{name}"))?;
        }
        Ok(())
    }

    /// Asks the packages' own loader, as ldd does; the machine's libraries have no say.
    fn libraries(&self, program: &Path) -> Result<Vec<PathBuf>> {
        let (loader, libraries) = (self.0.join(LOADER), self.0.join(LIBRARIES));
        let step = Step {
            name: "listing a program's libraries",
            way_out: "delete target/lab/userland-* to fetch the packages again",
        };
        let end = step
            .finish(Command::new(&loader).arg("--library-path").arg(&libraries).arg("--list").arg(program))?;
        // Static programs have no list: the loader refuses them.
        let found = end.stdout.lines().filter_map(|line| {
            let path = line.split_once(" => ")?.1.trim();
            Some(PathBuf::from(path.split(" (").next()?))
        });
        let (found, elsewhere): (Vec<_>, Vec<_>) = found.partition(|path| path.starts_with(&self.0));
        // What a package outside the list has would only be missed by the guest: neither here, nor on this machine
        // by chance.
        if end.stderr.contains("cannot open shared object file") || !elsewhere.is_empty() {
            let why = format!("{} {elsewhere:?} not of the packages", end.stderr);
            return Err(step.failure(Command::new(&self.0).arg(program), &why));
        }
        Ok(found.into_iter().filter(|path| path.starts_with(&libraries)).collect())
    }

    /// Adds what every profile includes: the ABIs and the tunables.
    pub(crate) fn add_policy(&self, archive: &mut Archive) -> Result<()> {
        for folder in ["etc/apparmor.d/abi", "etc/apparmor.d/tunables"] {
            add_folder(archive, &self.0.join(folder), folder)?;
        }
        Ok(())
    }

    /// Adds a folder of the packages where it is.
    pub(crate) fn add_tree(&self, archive: &mut Archive, folder: &str) -> Result<()> {
        add_folder(archive, &self.0.join(folder), folder)
    }

    /// The folder of profiles, with the abstractions.
    pub(crate) fn profiles(&self) -> PathBuf {
        self.0.join("etc/apparmor.d")
    }

    /// The parser, run by the packages' own loader.
    pub(crate) fn parser(&self) -> Command {
        unpacked::program(&self.0, "usr/sbin/apparmor_parser")
    }

    /// Adds the loader, at the path that programs name it by.
    pub(crate) fn add_loader(&self, archive: &mut Archive) -> Result<()> {
        add_file(archive, &self.0.join(LOADER), "lib64/ld-linux-x86-64.so.2")
    }
}

fn add_folder(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let to = format!("{to}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            add_folder(archive, &entry.path(), &to)?;
        } else if kind.is_symlink() {
            // What it leads to need not be in the packages.
            let target = fs::read_link(entry.path())?;
            archive.put(&to, Node::Link(target.to_string_lossy().into_owned()));
        } else {
            add_file(archive, &entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Adds a file of this machine, with its permissions.
pub(crate) fn add_file(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    let mode = fs::metadata(from)?.permissions().mode() & 0o7777;
    archive.put(to, Node::File { mode, content });
    Ok(())
}
