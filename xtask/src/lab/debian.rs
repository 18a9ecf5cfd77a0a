//! Packages from Debian without touching the machine: an apt of our own below target/lab, with its own
//! sources, lists and cache. Unpacked by `dpkg -x`, nothing is installed and nobody needs to be root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::place;
use crate::step::{self, Step};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old the package lists may be before something new is fetched.
const FRESH: Duration = Duration::from_secs(3600);
const WAY_OUT: &str = "check the network and the mirror in target/lab/apt/sources.list; \
    delete target/lab/apt to start over";

/// The URIs of Debian's archive and of its security archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: String,
}

/// Names a Debian archive (`.../debian`) for a machine whose own apt sources name none.
const MIRROR: &str = "AA_LAB_DEBIAN";

/// Takes the mirrors from apt source lists, one-line and deb822; the security archive is beside the main one
/// where they do not name it.
///
/// The lists may be another distribution's: an archive is told by the end of its path.
pub(crate) fn mirrors<'a>(lists: impl IntoIterator<Item = &'a str>) -> Option<Mirrors> {
    let mut main = None;
    let mut security = None;
    for line in lists.into_iter().flat_map(str::lines) {
        let line = line.trim();
        let relevant = line.starts_with("deb ") || line.starts_with("URIs:");
        for uri in line.split_whitespace().filter(|word| relevant && word.contains("://")) {
            let uri = uri.trim_end_matches('/');
            if uri.ends_with("/debian") {
                main.get_or_insert_with(|| uri.to_owned());
            } else if uri.ends_with("/debian-security") {
                security.get_or_insert_with(|| uri.to_owned());
            }
        }
    }
    let main = main?;
    let security = security.unwrap_or_else(|| format!("{main}-security"));
    Some(Mirrors { main, security })
}

impl Mirrors {
    fn sources(&self) -> String {
        let row =
            |uri: &str, suite: &str| format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n");
        let suites = ["bookworm", "trixie", "trixie-backports"].map(|suite| row(&self.main, suite));
        let updates = ["bookworm-security", "trixie-security"].map(|suite| row(&self.security, suite));
        let sources = format!("deb-src [signed-by={KEYRING}] {} trixie main\n", self.main);
        suites.concat() + &updates.concat() + &sources
    }
}

/// The private apt.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Writes the configuration, and brings the package lists when they are missing or old.
    pub(crate) fn fresh() -> Result<Self> {
        ensure!(
            Path::new(KEYRING).exists(),
            "the lab's packages are Debian's, and {KEYRING} is missing; \
             way out: apt-get install debian-archive-keyring"
        );
        let apt = Self { folder: place::lab().join("apt") };
        for folder in ["lists/partial", "cache/archives/partial", "state"] {
            fs::create_dir_all(apt.folder.join(folder)).with_context(|| format!("making {folder}"))?;
        }
        let asked = env::var(MIRROR).map(|uri| format!("deb {uri} any main")).ok();
        let lists: Vec<String> = asked.into_iter().chain(machine_sources()).collect();
        let mirrors = mirrors(lists.iter().map(String::as_str)).with_context(|| {
            format!(
                "the lab's kernels are Debian's, and this machine's apt sources name no Debian archive; \
                 way out: set {MIRROR} to the URI of one, which ends in /debian"
            )
        })?;
        let sources = mirrors.sources();
        let known = fs::read_to_string(apt.folder.join("sources.list")).is_ok_and(|list| list == sources);
        step::write(&apt.folder.join("sources.list"), sources)?;
        step::write(&apt.folder.join("status"), "")?;
        step::write(&apt.folder.join("apt.conf"), apt.configuration())?;
        let stamp = apt.folder.join("updated");
        let age = fs::metadata(&stamp).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if !known || age.is_none_or(|age| age > FRESH) {
            let step = Step { name: "Debian's package lists (30 MB)", way_out: WAY_OUT };
            step.run(apt.command("apt-get").args(["update", "-qq", "-o", "APT::Update::Error-Mode=any"]))?;
            step::write(&stamp, "")?;
        }
        Ok(apt)
    }

    /// Everything that the machine's own apt is told (proxies above all) still holds.
    fn configuration(&self) -> String {
        let folder = self.folder.display();
        format!(
            "Dir::Etc::SourceList \"{folder}/sources.list\";\n\
             Dir::Etc::SourceParts \"-\";\n\
             Dir::State \"{folder}/state\";\n\
             Dir::State::Lists \"{folder}/lists\";\n\
             Dir::State::status \"{folder}/status\";\n\
             Dir::Cache \"{folder}/cache\";\n\
             Debug::NoLocking \"true\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"\";\n"
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).current_dir(&self.folder);
        command
    }

    /// The names of the packages that match a regular expression.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let step = Step { name: "searching Debian's packages", way_out: WAY_OUT };
        let found = step.run(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Fetches packages (`name` or `name/suite`) and unpacks them into a folder of its own, which appears
    /// only when it is complete.
    pub(crate) fn unpack(&self, what: &str, packages: &[String], into: &Path) -> Result<()> {
        let mut fetch = self.command("apt-get");
        fetch.arg("download").args(packages);
        complete(what, fetch, into, |file, half| {
            let mut unpack = Command::new("dpkg");
            unpack.arg("-x").arg(file).arg(half);
            Some(unpack)
        })
    }

    /// The same with the sources of a package as its upstream released them, without Debian's patches.
    pub(crate) fn source(&self, what: &str, package: &str, suite: &str, into: &Path) -> Result<()> {
        let mut fetch = self.command("apt-get");
        fetch.args(["source", "-qq", "--download-only", &format!("{package}/{suite}")]);
        complete(what, fetch, into, |file, half| {
            file.file_name()?.to_str()?.split_once(".orig.tar.").filter(|(_, end)| !end.contains('.'))?;
            let mut unpack = Command::new("tar");
            unpack.arg("-xf").arg(file).arg("-C").arg(half);
            Some(unpack)
        })
    }
}

/// Runs a command that fetches files, and on each of them the one that unpacks it into a new folder; that
/// takes the place of `into` when all is done.
fn complete(
    what: &str,
    mut fetch: Command,
    into: &Path,
    unpack: impl Fn(&Path, &Path) -> Option<Command>,
) -> Result<()> {
    let beside = |end: &str| PathBuf::from(format!("{}.{end}", into.display()));
    let (half, fetched) = (beside("new"), beside("fetched"));
    for folder in [&half, &fetched] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let step = Step { name: &format!("fetching {what}"), way_out: WAY_OUT };
    step.run(fetch.current_dir(&fetched))?;
    let step = Step { name: &format!("unpacking {what}"), way_out: "check the free space under target" };
    for file in fs::read_dir(&fetched)? {
        if let Some(mut command) = unpack(&file?.path(), &half) {
            step.run(&mut command)?;
        }
    }
    let _ = fs::remove_dir_all(into);
    fs::rename(&half, into).with_context(|| format!("moving {} into place", into.display()))?;
    fs::remove_dir_all(&fetched).with_context(|| format!("removing {}", fetched.display()))
}

/// The text of the machine's own source lists, in apt's order.
fn machine_sources() -> Vec<String> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut parts: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        parts.sort();
        paths.append(&mut parts);
    }
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::mirrors;

    #[test]
    fn mirrors_are_taken_from_the_machine() {
        let example = "http://ftp.example.org/debian";
        let beside = "http://ftp.example.org/debian-security";
        let rows = [
            (
                "one line each",
                "deb http://ftp.example.org/debian bookworm main\n\
                 deb [arch=amd64] http://sec.example.org/debian-security/ bookworm-security main\n",
                Some((example, "http://sec.example.org/debian-security")),
            ),
            (
                "deb822, the security archive beside it",
                "Types: deb\nURIs: http://ftp.example.org/debian/\nSuites: trixie\nComponents: main\n",
                Some((example, beside)),
            ),
            ("another distribution", "deb http://archive.example.org/ubuntu noble main\n", None),
            ("only comments", "# deb http://ftp.example.org/debian bookworm main\n", None),
            ("only sources", "deb-src http://ftp.example.org/debian bookworm main\n", None),
            (
                "the first one counts",
                "deb http://ftp.example.org/debian x main\ndeb http://b.example/debian x main\n",
                Some((example, beside)),
            ),
            ("nothing", "", None),
        ];
        for (name, list, want) in rows {
            let got = mirrors([list]);
            let got = got.as_ref().map(|mirrors| (mirrors.main.as_str(), mirrors.security.as_str()));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn sources_name_every_suite_once() {
        let sources = mirrors(["deb http://ftp.example.org/debian x main"]).unwrap().sources();
        for suite in ["bookworm", "trixie", "trixie-backports", "bookworm-security", "trixie-security"] {
            let named = |line: &&str| line.starts_with("deb ") && line.split(' ').nth(4) == Some(suite);
            assert_eq!(sources.lines().filter(named).count(), 1, "{suite}");
        }
    }
}
