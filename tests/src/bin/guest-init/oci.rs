//! Containers by a real runtime, and processes in the cgroups that a runtime would give them.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bundle::Bundle;

const END_LIMIT: Duration = Duration::from_secs(30);
/// Where cgroups are made: the v2 tree, or on a v1 machine the hierarchies that runc needs.
const V2: &str = "/sys/fs/cgroup";

/// The folder that tells containers apart: of v2, or of v1's `pids`.
pub(crate) fn cgroups() -> PathBuf {
    let v1 = Path::new(V2).join("pids");
    if v1.exists() { v1 } else { V2.into() }
}

/// A container of a runtime, by name and cgroup path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Oci<'a> {
    /// `runc` or `crun`.
    pub(crate) runtime: &'a str,
    /// What the runtime calls it.
    pub(crate) name: &'a str,
    /// Its path in the cgroup tree.
    pub(crate) cgroup: &'a str,
}

impl Oci<'_> {
    /// Creates it: its process waits for [`Self::finish`].
    pub(crate) fn create(&self, profile: &str, file: &str, arguments: &[&str]) -> Result<()> {
        let bundle = self.bundle(profile, file, arguments)?;
        let words =
            ["create", "--bundle", &bundle.to_string_lossy(), "--pid-file", &self.pid_file(), self.name];
        self.call(&words).map(drop)
    }

    /// Lets it run to its end and removes it.
    ///
    /// Its process became a child of this one, the first, when the runtime that made it ended. The runtime is
    /// not asked: crun would send signal 0, which the container's profile denies.
    pub(crate) fn finish(&self) -> Result<()> {
        let pid = self.pid()?;
        self.call(&["start", self.name])?;
        let start = Instant::now();
        while waitpid(pid, Some(WaitPidFlag::WNOHANG)).context("waiting for a container")?
            == WaitStatus::StillAlive
        {
            ensure!(start.elapsed() < END_LIMIT, "{} still runs after {END_LIMIT:?}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
        self.call(&["delete", self.name]).map(drop)
    }

    /// Its first process, once it is created.
    pub(crate) fn pid(&self) -> Result<Pid> {
        let pid = fs::read_to_string(self.pid_file()).context("reading the pid of a container")?;
        Ok(Pid::from_raw(pid.trim().parse().context("the pid of a container")?))
    }

    fn pid_file(&self) -> String {
        format!("/tmp/pid-{}", self.name)
    }

    /// Asks the runtime.
    pub(crate) fn call(&self, arguments: &[&str]) -> Result<String> {
        let (out, err) = ("/tmp/oci.out", "/tmp/oci.err");
        // Files, not pipes: the container inherits them and would keep a pipe open.
        let status = Command::new(format!("/sbin/{}", self.runtime))
            .args(["--root", &format!("/tmp/state-{}", self.runtime)])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(fs::File::create(out)?)
            .stderr(fs::File::create(err)?)
            .status()
            .with_context(|| format!("starting {}", self.runtime))?;
        let said = fs::read_to_string(err).unwrap_or_default();
        ensure!(status.success(), "{} {}: {}", self.runtime, arguments.join(" "), said.trim());
        Ok(fs::read_to_string(out)?)
    }

    fn bundle(&self, profile: &str, file: &str, arguments: &[&str]) -> Result<PathBuf> {
        let folder = PathBuf::from("/tmp").join(format!("bundle-{}", self.name));
        Bundle { cgroup: self.cgroup, profile, arguments, secret: Some(file) }.write(&folder)?;
        Ok(folder)
    }
}

/// Makes a cgroup.
pub(crate) fn make(cgroup: &str) -> Result<PathBuf> {
    let folder = cgroups().join(cgroup.trim_start_matches('/'));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Removes a cgroup whose processes have ended; the kernel takes a moment to know that they have.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > END_LIMIT => {
                return Err(error).with_context(|| format!("removing {}", folder.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Starts `provoke` in a cgroup and under a profile, as a runtime does.
pub(crate) fn start_in(folder: &Path, profile: &str, arguments: &[&str]) -> Result<Child> {
    let procs = folder.join("cgroup.procs");
    let request = format!("exec {profile}");
    let mut command = Command::new("/bin/provoke");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    // Only async-signal-safe calls: open, write, close; the texts were made before the fork.
    let enter = move || -> io::Result<()> {
        fs::write(&procs, "0")?;
        fs::write("/proc/thread-self/attr/apparmor/exec", &request)
    };
    #[expect(unsafe_code, reason = "cgroup and profile of the next exec are set by the task itself")]
    // SAFETY: the closure allocates only the paths' C strings, in a process with a single thread.
    unsafe {
        command.pre_exec(enter);
    }
    command
        .spawn()
        .with_context(|| format!("running provoke {} in {}", arguments.join(" "), folder.display()))
}

/// Runs `provoke` so to its end.
pub(crate) fn run_in(folder: &Path, profile: &str, arguments: &[&str]) -> Result<()> {
    start_in(folder, profile, arguments)?.wait().context("waiting for provoke").map(drop)
}
