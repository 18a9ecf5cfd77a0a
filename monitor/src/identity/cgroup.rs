//! From the path of a cgroup to the container it belongs to. Pure: bytes in, ids out.
//!
//! The whole path is read from its root, not the leaf alone: what a container makes below its own cgroup
//! (systemd, another runtime, crun's `container`) is still that container. The first container id counts,
//! with one exception: a pod's cgroup further down says that the container before it is a node (kind,
//! minikube), and then the first id below that pod counts.

/// Where a process lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a container.
    Container(Ids),
    /// In none: a process of the host, of a node that is itself a container, or a runtime's monitor.
    Host(Host),
    /// The path does not tell.
    Untold(Untold),
}

/// Why a process is in no container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Nothing in the path is a container.
    NoContainer,
    /// The runtime's monitor (conmon), which has a cgroup beside the container.
    Monitor,
    /// The kubelet of a node that is itself a container.
    NodeProcess,
}

/// Why a path does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// It is empty, or no path from the root.
    NotAPath,
    /// It was read from another cgroup namespace, and what is left of it names no container.
    OtherNamespace,
    /// It ends at the pod: no container of it is named.
    PodOnly,
}

/// What a path says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// The runtime's id, 64 lower-case hexadecimal digits.
    pub container: Box<str>,
    /// The pod's UID with dashes, or the 32 digits of a static pod's configuration hash; none for a container
    /// outside of Kubernetes, which is one beside `kubepods`.
    pub pod: Option<Box<str>>,
    /// The container around it, which therefore is a node.
    pub node: Option<Box<str>>,
    /// Below the container's own `init.scope` or `system.slice`: a systemd in the container, or, when the
    /// container is known to be a node, a process of that node.
    pub below_init: bool,
}

impl Ids {
    /// Whether the pod is a static one, known by its hash only.
    pub fn is_static_pod(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.len() == HASH_DIGITS)
    }
}

const ID_DIGITS: usize = 64;
const HASH_DIGITS: usize = 32;
/// What the kernel appends to the path of a cgroup that has been removed (`proc_cgroup_show`).
const DELETED: &[u8] = b" (deleted)";

/// Reads a path as the kernel prints it.
pub fn parse(path: &[u8]) -> Place {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    let Some(path) = path.strip_prefix(b"/") else { return Place::Untold(Untold::NotAPath) };
    let mut reader = Reader::default();
    let mut relative = false;
    let mut begun = false;
    for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        if component == b".." {
            // Only at the start, where the kernel writes them (`cgroup_path_ns`).
            if begun {
                return Place::Untold(Untold::NotAPath);
            }
            relative = true;
            continue;
        }
        begun = true;
        if let Some(host) = reader.read(component) {
            return Place::Host(host);
        }
    }
    match reader.container {
        Some(container) => Place::Container(Ids {
            container,
            pod: reader.pod,
            node: reader.node,
            below_init: reader.below_init,
        }),
        None if reader.pod.is_some() => Place::Untold(Untold::PodOnly),
        None if relative => Place::Untold(Untold::OtherNamespace),
        None => Place::Host(Host::NoContainer),
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    container: Option<Box<str>>,
    pod: Option<Box<str>>,
    node: Option<Box<str>>,
    below_init: bool,
}

impl Reader {
    /// Takes the next component; something when that settles that this is no container.
    fn read(&mut self, component: &[u8]) -> Option<Host> {
        match (&self.container, &self.pod) {
            // Settled: whatever is further down was made in the container.
            (Some(_), Some(_)) => None,
            (None, _) => self.outside(component),
            (Some(_), None) => self.inside(component),
        }
    }

    fn outside(&mut self, component: &[u8]) -> Option<Host> {
        if let Some((slice, id)) = mismatched(component) {
            self.pod = pod_of(slice);
            self.container = Some(id);
        } else if let Some(pod) = pod_of(component) {
            self.pod = Some(pod);
        } else if is_monitor(component) {
            return Some(Host::Monitor);
        } else {
            self.container = id_of(component);
        }
        None
    }

    /// Below a container of which no pod is known.
    fn inside(&mut self, component: &[u8]) -> Option<Host> {
        let inner = mismatched(component);
        let pod = inner.as_ref().and_then(|(slice, _)| pod_of(slice)).or_else(|| pod_of(component));
        if pod.is_some() {
            self.node = self.container.take();
            self.container = inner.map(|(_, id)| id);
            self.pod = pod;
            self.below_init = false;
        } else if component == b"kubelet.service" {
            return Some(Host::NodeProcess);
        } else if matches!(component, b"init.scope" | b"system.slice") {
            self.below_init = true;
        }
        None
    }
}

/// `H`, `docker-H.scope`, `cri-containerd-H.scope`, `libpod-H`.
fn id_of(component: &[u8]) -> Option<Box<str>> {
    let name = component.strip_suffix(b".scope").unwrap_or(component);
    let (before, id) = name.split_at_checked(name.len().checked_sub(ID_DIGITS)?)?;
    let runtime = match before {
        [] => return hex(id),
        [runtime @ .., b'-'] => runtime,
        _ => return None,
    };
    let plain = !runtime.is_empty()
        && runtime.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    plain.then(|| hex(id)).flatten()
}

/// `conmon`, `libpod-conmon-H.scope`, `crio-conmon-H.scope`.
fn is_monitor(component: &[u8]) -> bool {
    component == b"conmon"
        || component.strip_prefix(b"libpod-conmon-").is_some()
        || component.strip_prefix(b"crio-conmon-").is_some()
}

/// `kubepods-burstable-podU_.slice:cri-containerd:H`: what a runtime makes of a path in systemd's notation
/// when it manages cgroups itself.
fn mismatched(component: &[u8]) -> Option<(&[u8], Box<str>)> {
    let mut parts = component.split(|byte| *byte == b':');
    let (slice, _runtime, id) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some((slice, hex_of(id, ID_DIGITS)?))
}

/// `podU`, `podh32`, `kubepods-besteffort-podU_.slice`, `kubelet-kubepods-podU_.slice`.
fn pod_of(component: &[u8]) -> Option<Box<str>> {
    if let Some(uid) = component.strip_prefix(b"pod") {
        return uid_of(uid, b'-');
    }
    let name = component.strip_suffix(b".slice")?;
    let at = name.windows(4).position(|window| window == b"-pod")?;
    let (parent, uid) = name.split_at_checked(at)?;
    let known = parent == b"kubepods" || parent.ends_with(b"-kubepods") || {
        let quality = parent.strip_suffix(b"-besteffort").or_else(|| parent.strip_suffix(b"-burstable"));
        quality.is_some_and(|parent| parent == b"kubepods" || parent.ends_with(b"-kubepods"))
    };
    known.then(|| uid_of(uid.strip_prefix(b"-pod")?, b'_')).flatten()
}

/// A UUID whose groups are separated by `separator`, or a static pod's hash.
fn uid_of(uid: &[u8], separator: u8) -> Option<Box<str>> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    if let Some(hash) = hex_of(uid, HASH_DIGITS) {
        return Some(hash);
    }
    let mut groups = uid.split(|byte| *byte == separator);
    let shaped = GROUPS.into_iter().all(|digits| groups.next().is_some_and(|group| is_hex(group, digits)));
    if !shaped || groups.next().is_some() {
        return None;
    }
    let text = str::from_utf8(uid).ok()?;
    Some(if separator == b'-' { text.into() } else { text.replace('_', "-").into() })
}

fn hex(digits: &[u8]) -> Option<Box<str>> {
    hex_of(digits, ID_DIGITS)
}

fn hex_of(digits: &[u8], count: usize) -> Option<Box<str>> {
    is_hex(digits, count).then(|| str::from_utf8(digits).ok().map(Into::into)).flatten()
}

/// Runtimes and the API server write lower-case digits only.
fn is_hex(digits: &[u8], count: usize) -> bool {
    digits.len() == count && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What `/proc/<pid>/cgroup` says, hierarchy by hierarchy.
///
/// The order of preference: on cgroup v1 and hybrid machines `pids`, in which every runtime puts its
/// containers, then the other controllers in the order below, then named hierarchies (`name=systemd`), then
/// cgroup v2 (`0::`), which on a hybrid machine may hold nothing. The first of them that names a container is
/// believed; if none does, the first that there is.
pub fn parse_file(file: &[u8]) -> Option<Place> {
    let mut first: Option<(usize, Place)> = None;
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Some((rank, path)) = hierarchy(line) else { continue };
        let place = parse(path);
        let key = |rank: usize, place: &Place| (!matches!(place, Place::Container(_)), rank);
        if first.as_ref().is_none_or(|(best, known)| key(rank, &place) < key(*best, known)) {
            first = Some((rank, place));
        }
    }
    first.map(|(_, place)| place)
}

/// Controllers of cgroup v1, the most telling first.
const CONTROLLERS: [&[u8]; 6] = [b"pids", b"memory", b"devices", b"freezer", b"cpu", b"cpuset"];

/// Rank and path of a line `number:controllers:path`.
fn hierarchy(line: &[u8]) -> Option<(usize, &[u8])> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let named = |wanted: &[u8]| controllers.split(|byte| *byte == b',').any(|name| name == wanted);
    let rank = if controllers.is_empty() {
        CONTROLLERS.len() + 2
    } else if controllers.starts_with(b"name=") {
        CONTROLLERS.len() + 1
    } else {
        CONTROLLERS.iter().position(|wanted| named(wanted)).unwrap_or(CONTROLLERS.len())
    };
    Some((rank, path))
}

#[cfg(test)]
mod tests;
