//! Reading the list of profiles when it has changed, and only then.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{FOLDER, Inventory, Profiles};
use crate::sys;

/// Loading a set of profiles changes policy once for each; they are read together.
const SETTLE: Duration = Duration::from_millis(200);

/// The list is read up to here: 16,384 profiles with long names.
const LIST_LIMIT: u64 = 4 << 20;

/// Keeps `profiles` up to date until `stop`.
///
/// The kernel says when: the file `revision` is readable after each change of policy (`ns_revision_poll`,
/// security/apparmor/apparmorfs.c, since 4.13). Where it is missing, records of changes are the only trigger.
pub async fn run(profiles: Arc<Profiles>, stop: CancellationToken) {
    let mut revision = match Revision::open(&Path::new(FOLDER).join("revision")) {
        Ok(revision) => Some(revision),
        Err(error) => {
            tracing::debug!(
                "changes of policy are known from records only: cannot open {FOLDER}/revision: {error}"
            );
            None
        }
    };
    loop {
        let list = tokio::task::spawn_blocking(|| read(&Path::new(FOLDER).join("profiles"))).await;
        let list = list.unwrap_or_else(|panicked| Err(panicked.to_string()));
        if let Err(why) = &list {
            tracing::debug!("the loaded profiles are not known: {why}");
        }
        profiles.set(list);
        let changed = async {
            match &mut revision {
                Some(revision) => revision.changed().await,
                None => std::future::pending().await,
            }
        };
        let broken = tokio::select! {
            changed = changed => changed.err(),
            () = profiles.nudge.notified() => None,
            () = stop.cancelled() => return,
        };
        if let Some(error) = broken {
            tracing::warn!(
                "changes of policy are known from records only: reading {FOLDER}/revision: {error}"
            );
            revision = None;
        }
        tokio::select! {
            () = sleep(SETTLE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The policy's revision number, which can be waited for.
struct Revision(AsyncFd<File>);

impl Revision {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let mut revision = Self(sys::watch_readable(file)?);
        // The first read tells the revision as it is; what comes later is a change.
        match revision.read() {
            Ok(()) => Ok(revision),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(revision),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.0.get_mut().read(&mut [0; 32]).map(drop)
    }

    async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            if let Ok(read) = ready.try_io(|file| file.get_mut().read(&mut [0; 32])) {
                return read.map(drop);
            }
        }
    }
}

fn read(path: &Path) -> Result<Inventory, String> {
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{} does not exist: mount securityfs, or boot with apparmor=1", path.display())
        }
        io::ErrorKind::PermissionDenied => {
            format!("{} can be read by root of the host only", path.display())
        }
        _ => format!("cannot read {}: {error}", path.display()),
    };
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(LIST_LIMIT).read_to_end(&mut text)).map_err(explain)?;
    Ok(Inventory::parse(&text))
}
