//! Names of containers from the state that runtimes keep in files, without asking their sockets: a socket is
//! root on the host, a file is a file.

mod files;

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::files::Told;
use super::{Container, Pod};

/// An OCI `config.json` has some 50 KiB; a `containers.json` some 500 bytes a container.
const FILE_LIMIT: u64 = 4 << 20;
/// Namespaces of containerd that are looked into: a node has two or three.
const NAMESPACES: usize = 16;
/// Containers that are remembered.
const REMEMBERED: usize = 1_024;
/// How long it is remembered that there is nothing: the file may be written a moment after the start.
const NOTHING_FOR: Duration = Duration::from_secs(10);

/// Where containerd keeps what runs, a folder a namespace.
const CONTAINERD: &str = "run/containerd/io.containerd.runtime.v2.task";
/// Where podman's and CRI-O's storage keeps what runs.
const STORAGE_RUN: &str = "run/containers/storage/overlay-containers";
/// And what is there at all.
const STORAGE: &str = "var/lib/containers/storage/overlay-containers";
/// Its lists: of containers that stay, and of those that are removed when they end (`podman run --rm`).
const STORED: [&str; 2] = ["containers.json", "volatile-containers.json"];
const DOCKER: &str = "var/lib/docker/containers";

/// The host's root, where this process may look into it: a container with the host's processes and
/// `CAP_SYS_PTRACE` may. Otherwise its own root is all there is.
const ROOTS: [&str; 2] = ["/proc/1/root/", "/"];

/// The runtimes of this host.
#[derive(Debug)]
pub struct Runtimes {
    root: PathBuf,
    remembered: HashMap<Box<str>, Remembered>,
}

/// What the files told of a container.
#[derive(Debug)]
struct Remembered {
    container: Option<Arc<Container>>,
    /// When to look again, if there was nothing.
    again: Option<Instant>,
}

impl Runtimes {
    /// Of the host that this process runs on, be it in a container.
    pub fn of_host() -> Self {
        Self::new(ROOTS.into_iter().find(|root| fs::read_dir(root).is_ok()).unwrap_or("/"))
    }

    /// Of the host whose file system is at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), remembered: HashMap::new() }
    }

    /// The container with this id, whose cgroup names this pod, if any file tells of it.
    ///
    /// Reads files the first time, then remembers. What a file says of a pod counts only where the cgroup
    /// says the same pod.
    pub fn find(&mut self, id: &str, pod_uid: Option<&str>, now: Instant) -> Option<Arc<Container>> {
        if let Some(Remembered { container, again }) = self.remembered.get(id)
            && again.is_none_or(|again| now < again)
        {
            return container.clone();
        }
        let container = self.read(id).map(|told| Arc::new(container(id, told, pod_uid)));
        if self.remembered.len() >= REMEMBERED {
            // All at once: it is rare, and what still runs is read again.
            self.remembered.clear();
        }
        let again = container.is_none().then(|| now + NOTHING_FOR);
        self.remembered.insert(id.into(), Remembered { container: container.clone(), again });
        container
    }

    fn read(&self, id: &str) -> Option<Told> {
        // It becomes part of a path.
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let at = |folder: &str, rest: &str| self.root.join(folder).join(id).join(rest);
        let containerd = || {
            let namespaces = fs::read_dir(self.root.join(CONTAINERD)).ok()?.take(NAMESPACES).flatten();
            namespaces
                .into_iter()
                .find_map(|namespace| files::oci(&read_file(&namespace.path().join(id).join("config.json"))?))
        };
        let oci = |folder| files::oci(&read_file(&at(folder, "userdata/config.json"))?);
        let docker = || files::docker(&read_file(&at(DOCKER, "config.v2.json"))?);
        let storage = || {
            let list = |name| files::storage(&read_file(&self.root.join(STORAGE).join(name))?, id);
            STORED.into_iter().find_map(list)
        };
        // Docker's containers run under containerd, whose file has no name for them: Docker's own comes first.
        docker().or_else(containerd).or_else(|| oci(STORAGE_RUN)).or_else(|| oci(STORAGE)).or_else(storage)
    }
}

fn container(id: &str, told: Told, pod_uid: Option<&str>) -> Container {
    let pod = told.pod.filter(|[uid, ..]| Some(&**uid) == pod_uid).map(|[uid, namespace, name]| {
        // What owns it no file tells.
        Arc::new(Pod { uid, namespace, name, ..Pod::default() })
    });
    Container { id: id.into(), name: told.name, image: told.image, pod }
}

/// A whole file, unless it is none, or too large.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    // Neither a link that leads elsewhere nor a pipe that never ends.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > FILE_LIMIT {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    /// A host with these files.
    fn host(files: &[(String, &str)]) -> (tempfile::TempDir, Runtimes) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let runtimes = Runtimes::new(root.path());
        (root, runtimes)
    }

    const CRI: &str = r#"{"annotations":{"io.kubernetes.cri.container-name":"app",
        "io.kubernetes.cri.sandbox-uid":"u","io.kubernetes.cri.sandbox-namespace":"ns","io.kubernetes.cri.sandbox-name":"p"}}"#;

    #[test]
    fn each_runtimes_folder_is_looked_into() {
        let docker = r#"{"Name":"/docker-web"}"#;
        let nerdctl = r#"{"annotations":{"nerdctl/name":"nerdctl-web"}}"#;
        let podman = format!(r#"[{{"id":"{}","names":["podman-web"]}}]"#, id('d'));
        let fleeting = format!(r#"[{{"id":"{}","names":["podman-job"]}}]"#, id('9'));
        let (_root, mut runtimes) = host(&[
            (format!("{DOCKER}/{}/config.v2.json", id('a')), docker),
            (format!("{CONTAINERD}/moby/{}/config.json", id('a')), r#"{"annotations":{}}"#),
            (format!("{CONTAINERD}/k8s.io/{}/config.json", id('b')), CRI),
            (format!("{CONTAINERD}/default/{}/config.json", id('c')), nerdctl),
            (format!("{STORAGE}/containers.json"), &podman),
            (format!("{STORAGE}/volatile-containers.json"), &fleeting),
            (format!("{STORAGE_RUN}/{}/userdata/config.json", id('e')), CRI),
        ]);
        for (letter, want) in [
            ('a', "docker-web"),
            ('b', "app"),
            ('c', "nerdctl-web"),
            ('d', "podman-web"),
            ('9', "podman-job"),
            ('e', "app"),
            ('f', ""),
        ] {
            let found = runtimes.find(&id(letter), None, Instant::now());
            assert_eq!(found.map(|found| found.name.to_string()).unwrap_or_default(), want, "{letter}");
        }
    }

    #[test]
    fn a_pod_is_believed_only_where_the_cgroup_says_the_same() {
        for (uid, want) in [(Some("u"), Some("p")), (Some("other"), None), (None, None)] {
            let (_root, mut runtimes) =
                host(&[(format!("{CONTAINERD}/k8s.io/{}/config.json", id('b')), CRI)]);
            let found = runtimes.find(&id('b'), uid, Instant::now()).unwrap();
            assert_eq!(found.pod.as_ref().map(|pod| &*pod.name), want, "{uid:?}");
        }
    }

    #[test]
    fn neither_links_nor_pipes_nor_ids_lead_astray() {
        let (root, mut runtimes) = host(&[(format!("{DOCKER}/x/config.v2.json"), r#"{"Name":"/x"}"#)]);
        let folder = |letter| root.path().join(DOCKER).join(id(letter));
        for letter in ['a', 'b'] {
            fs::create_dir_all(folder(letter)).unwrap();
        }
        std::os::unix::fs::symlink(
            root.path().join(DOCKER).join("x/config.v2.json"),
            folder('a').join("config.v2.json"),
        )
        .unwrap();
        nix::unistd::mkfifo(&folder('b').join("config.v2.json"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        for id in [id('a'), id('b'), "x".to_owned(), format!("../{}", id('a'))] {
            assert_eq!(runtimes.find(&id, None, Instant::now()), None, "{id}");
        }
    }

    #[test]
    fn what_is_not_there_yet_is_looked_for_again_and_what_is_there_is_remembered() {
        let (root, mut runtimes) = host(&[]);
        let now = Instant::now();
        assert_eq!(runtimes.find(&id('a'), None, now), None);
        let path = root.path().join(DOCKER).join(id('a')).join("config.v2.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, r#"{"Name":"/web"}"#).unwrap();
        assert_eq!(runtimes.find(&id('a'), None, now), None, "not looked at for every event");
        let found = runtimes.find(&id('a'), None, now + NOTHING_FOR).unwrap();
        fs::remove_file(path).unwrap();
        let again = runtimes.find(&id('a'), None, now + 2 * NOTHING_FOR).unwrap();
        assert!(Arc::ptr_eq(&found, &again) && &*found.name == "web");
    }
}
