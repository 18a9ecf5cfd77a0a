//! Since when no cgroup was made or removed on this node. The kernel is asked for it through inotify, which has
//! the answer in its queue before the call that made or removed a cgroup returns; so it needs no eBPF, and what a
//! ring may hold back cannot deceive it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bstr::ByteSlice as _;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::tree::Tree;

/// Watches are counted against root's own limit (`fs.inotify.max_user_watches`, 8,192 at least), and others need
/// some. A node with 110 pods has some 500 cgroups.
const MOST: usize = 2_048;

/// What makes or removes a cgroup; only cgroup v1 can rename one.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_ONLYDIR);

/// A watch of every cgroup's folder.
#[derive(Debug)]
pub(super) struct Still {
    inotify: Inotify,
    tree: Tree,
    /// Nanoseconds since the epoch.
    since: u64,
    /// There was a change, and nobody has said when it is now.
    changed: bool,
    /// Folders that are there and not watched: none of their changes would be heard.
    unwatched: bool,
}

impl Still {
    /// Watches the tree from `now` on, in nanoseconds since the epoch.
    pub(super) fn of(tree: &Tree, now: u64) -> Result<Self, String> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|error| format!("no inotify instance ({error}; fs.inotify.max_user_instances)"))?;
        let mut still = Self { inotify, tree: tree.clone(), since: now, changed: false, unwatched: true };
        still.watch()?;
        Ok(still)
    }

    /// Since when nothing has changed, as far as it is known at `now`. That is `now` at the earliest after a change:
    /// when exactly it was is not told.
    pub(super) fn since(&mut self, now: u64) -> Result<u64, String> {
        if self.changed() {
            self.since = now;
            self.changed = false;
        }
        if self.unwatched {
            self.since = now;
            self.watch()?;
        }
        Ok(self.since)
    }

    /// Whether anything has changed since it was last asked since when nothing has.
    pub(super) fn changed(&mut self) -> bool {
        self.changed |= self.hear();
        self.changed
    }

    /// Whether anything was made or removed since it was last asked.
    fn hear(&mut self) -> bool {
        let mut changed = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return changed,
                Err(_) => {
                    self.unwatched = true;
                    return true;
                }
            };
            changed |= !events.is_empty();
            // A queue that was full has forgotten what was made.
            let more = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_Q_OVERFLOW;
            self.unwatched |= events.iter().any(|event| event.mask.intersects(more));
        }
    }

    /// Watches every folder; one that is watched already stays so. A folder is watched before it is looked into,
    /// so that what is made in it meanwhile is heard of.
    fn watch(&mut self) -> Result<(), String> {
        let (root, inotify) = (self.tree.path(), &self.inotify);
        let mut count = 0;
        let mut refused = add(inotify, root).err();
        self.tree.walk(|_, path| {
            count += 1;
            if count > MOST || refused.is_some() {
                return;
            }
            let below = path.strip_prefix(b"/").unwrap_or(path);
            refused = add(inotify, &root.join(below.to_os_str_lossy())).err();
        });
        if let Some(error) = refused {
            return Err(format!("a cgroup cannot be watched ({error}; fs.inotify.max_user_watches)"));
        }
        if count > MOST {
            return Err(format!("there are more than {MOST} cgroups to watch"));
        }
        self.unwatched = false;
        Ok(())
    }
}

/// Watches a folder, if it is still there.
fn add(inotify: &Inotify, folder: &Path) -> Result<(), Errno> {
    match inotify.add_watch(folder.as_os_str().as_bytes(), CHANGES) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_change_is_heard_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(folder.path().join(path)).unwrap();
        make("kubepods/pod1/a");
        let mut still = Still::of(&Tree::at(folder.path()), 10).unwrap();
        assert_eq!((still.since(20), still.since(30)), (Ok(10), Ok(10)), "nothing has changed");
        make("kubepods/pod1/b");
        assert_eq!((still.since(40), still.since(50)), (Ok(40), Ok(40)), "a new container");
        fs::remove_dir(folder.path().join("kubepods/pod1/b")).unwrap();
        assert_eq!((still.since(60), still.since(70)), (Ok(60), Ok(60)), "it ends");
        assert!(!still.changed());
        make("kubepods/pod2");
        assert!(still.changed() && still.changed(), "until it is said when");
        assert_eq!(still.since(80), Ok(80), "a new pod");
        make("kubepods/pod2/c");
        assert_eq!((still.since(90), still.since(100)), (Ok(90), Ok(90)), "a container of the new pod");
        make("kubepods/pod2/c/inner");
        fs::remove_dir(folder.path().join("kubepods/pod2/c/inner")).unwrap();
        assert_eq!((still.since(110), still.since(120)), (Ok(110), Ok(110)), "made and removed in between");
        fs::rename(folder.path().join("kubepods/pod1/a"), folder.path().join("kubepods/pod1/z")).unwrap();
        assert_eq!((still.since(130), still.since(140)), (Ok(130), Ok(130)), "renamed, as v1 can");
    }

    #[test]
    fn more_than_can_be_watched_is_not_half_watched() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MOST {
            fs::create_dir(folder.path().join(number.to_string())).unwrap();
        }
        let error = Still::of(&Tree::at(folder.path()), 0).unwrap_err();
        assert!(error.contains("more than 2048"), "{error}");
    }
}
