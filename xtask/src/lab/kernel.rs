//! The kernels of the lab: the newest patch of a Debian series, or one that the user names.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::debian::Apt;
use crate::place;
use crate::step;

/// The series that the lab is tried with.
pub(crate) const SERIES: [&str; 4] = ["6.1", "6.12", "6.18", "7.3"];

/// Those that every change is tried on: the oldest and the newest.
pub(crate) const USUAL: [&str; 2] = ["6.1", "7.3"];

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What the user called it: a series, or the name of a file.
    pub(crate) name: String,
    /// The image.
    pub(crate) vmlinuz: PathBuf,
    /// `lib/modules/<release>`, when there are modules.
    pub(crate) modules: Option<PathBuf>,
}

impl Kernel {
    /// Finds a kernel by series or path; fetches a series that is not here yet.
    pub(crate) fn get(wanted: &str) -> Result<Self> {
        if wanted.contains('/') {
            let vmlinuz = PathBuf::from(wanted);
            let file = vmlinuz.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some(name) = file.filter(|_| vmlinuz.is_file()) else {
                bail!("there is no kernel at {wanted}; give a series ({}) or a vmlinuz", SERIES.join(", "));
            };
            return Ok(Self { name, vmlinuz, modules: None });
        }
        let series =
            wanted.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if !series || !wanted.contains('.') {
            bail!("{wanted} is neither a series ({}) nor a path with a slash", SERIES.join(", "));
        }
        let folder = place::lab().join("kernels").join(format!("linux-{wanted}"));
        if !folder.join("release").exists() {
            fetch(wanted, &folder)?;
        }
        Self::at(wanted, &folder)
    }

    /// The release, as `uname -r` says it; its name for one that the user gave.
    pub(crate) fn release(&self) -> String {
        let folder = self.modules.as_ref().and_then(|modules| modules.file_name());
        folder.map_or_else(|| self.name.clone(), |release| release.to_string_lossy().into_owned())
    }

    fn at(series: &str, folder: &Path) -> Result<Self> {
        let release = fs::read_to_string(folder.join("release")).context("reading the kernel's release")?;
        let modules = folder.join("usr/lib/modules").join(&release);
        let older = folder.join("lib/modules").join(&release);
        let modules = if modules.exists() { modules } else { older };
        // Debian moved the image in 7.x.
        let places = [folder.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let vmlinuz = places.into_iter().find(|path| path.is_file()).with_context(|| {
            format!("no kernel image in {}; way out: delete that folder to fetch it again", folder.display())
        })?;
        Ok(Self { name: series.to_owned(), vmlinuz, modules: Some(modules) })
    }
}

/// Fetches the newest release of a series. Since 6.19 the image package is a shell around `linux-binary` and
/// `linux-modules`.
fn fetch(series: &str, folder: &Path) -> Result<()> {
    let apt = Apt::fresh()?;
    let pattern = format!(r"^linux-image-{}[.-][0-9].*-cloud-amd64$", series.replace('.', r"\."));
    let names = apt.names(&pattern)?;
    let releases = names.iter().filter_map(|name| name.strip_prefix("linux-image-"));
    let Some(release) = releases.max_by(|a, b| compare(a, b)) else {
        bail!("Debian has no kernel of series {series}; these are tried: {}", SERIES.join(", "));
    };
    let exact = release.replace('.', r"\.").replace('+', r"\+");
    let packages = apt.names(&format!("^linux-(image|binary|modules)-{exact}$"))?;
    apt.unpack(&format!("kernel {release}"), &packages, folder)?;
    step::write(&folder.join("release"), release)
}

/// Orders releases as people do: numbers by value.
fn compare(a: &str, b: &str) -> Ordering {
    fn numbers(text: &str) -> Vec<u64> {
        let text = text.strip_suffix("-cloud-amd64").unwrap_or(text);
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    }
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::{Kernel, compare};

    #[test]
    fn the_newest_release_wins() {
        let rows = [
            ("6.1.0-47-cloud-amd64", "6.1.0-9-cloud-amd64", Ordering::Greater),
            ("6.12.100+deb13-cloud-amd64", "6.12.95+deb13-cloud-amd64", Ordering::Greater),
            ("6.12.117+deb13-cloud-amd64", "6.12.117+deb12-cloud-amd64", Ordering::Greater),
            ("6.12.90+deb13.1-cloud-amd64", "6.12.90+deb13-cloud-amd64", Ordering::Greater),
            ("7.3.4+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64", Ordering::Equal),
        ];
        for (a, b, want) in rows {
            assert_eq!(compare(a, b), want, "{a} against {b}");
            assert_eq!(compare(b, a), want.reverse(), "{b} against {a}");
        }
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        for wanted in ["6", "six.one", "6..1", "/no/such/vmlinuz", ""] {
            let text = Kernel::get(wanted).unwrap_err().to_string();
            assert!(text.contains("6.1, 6.12"), "{wanted}: {text}");
        }
    }
}
