//! From the id of a cgroup to the container, also when the cgroup is gone. Pure: told what was made, what was
//! removed, and what time it is.
//!
//! A record comes after the making of its cgroup and may come after the removal; the ring keeps that order.
//! What is gone is kept for a while, because whoever was denied something and died is still asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::cgroup::{self, Ids, Place};
use super::counts::Evicted;
use super::{Container, Pod};

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Cgroups that are there. Some 40 bytes each, and 300 for each container.
    pub live: usize,
    /// Cgroups that are gone.
    pub gone: usize,
    /// How long what is gone can still be found.
    pub keep: Duration,
}

impl Default for Limits {
    /// The kernel's own limits of processes are reached before that many cgroups have one each.
    fn default() -> Self {
        Self { live: 65_536, gone: 16_384, keep: Duration::from_secs(600) }
    }
}

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A container's.
    Container(Arc<Container>),
    /// The host's.
    Host,
    /// Its path does not tell.
    Untold,
}

#[derive(Clone, Debug)]
struct Known {
    owner: Owner,
    /// See [`Ids::below_init`].
    below_init: bool,
}

/// The cgroups of this node.
#[derive(Debug)]
pub struct Containers {
    limits: Limits,
    /// By id; the kernel gives them out, so that a quick hasher will do.
    live: HashMap<u64, Known, RandomState>,
    gone: HashMap<u64, (Instant, Known), RandomState>,
    /// The gone ones in the order of their end; an id that was used again may stand here for nothing.
    ends: VecDeque<(Instant, u64)>,
    /// Containers that are nodes: other containers' cgroups are below theirs.
    nodes: HashSet<Box<str>>,
}

/// A container that is a node holds a kubelet; there is room for as many as a machine can bear.
const NODES: usize = 1024;

impl Containers {
    /// None known.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            live: HashMap::default(),
            gone: HashMap::default(),
            ends: VecDeque::new(),
            nodes: HashSet::new(),
        }
    }

    /// A cgroup is there. Whoever had this id before does not have it any more.
    pub fn made(&mut self, id: u64, path: &[u8], evict: impl FnOnce(Evicted)) {
        self.gone.remove(&id);
        let known = self.read(path);
        if self.live.len() >= self.limits.live && !self.live.contains_key(&id) {
            evict(Evicted::Limit);
            return;
        }
        self.live.insert(id, known);
    }

    /// A cgroup is gone; it is kept until it expires, or until there is no room.
    pub fn removed(&mut self, id: u64, path: &[u8], now: Instant, mut evict: impl FnMut(Evicted)) {
        let known = self.live.remove(&id).unwrap_or_else(|| self.read(path));
        self.gone.insert(id, (now, known));
        self.ends.push_back((now, id));
        while self.gone.len() > self.limits.gone {
            if !self.drop_oldest() {
                break;
            }
            evict(Evicted::GoneLimit);
        }
        // Entries of ids that were used again are in the way of nobody, but they must not pile up.
        if self.ends.len() > self.limits.gone.saturating_mul(2) {
            let gone = &self.gone;
            self.ends.retain(|(end, id)| gone.get(id).is_some_and(|(known, _)| known == end));
        }
    }

    /// Forgets what has been gone for long enough.
    pub fn expire(&mut self, now: Instant, mut evict: impl FnMut(Evicted)) {
        while self.ends.front().is_some_and(|(end, _)| now.duration_since(*end) >= self.limits.keep) {
            if self.drop_oldest() {
                evict(Evicted::Expired);
            }
        }
    }

    /// Takes the oldest end; true when that forgot a cgroup.
    fn drop_oldest(&mut self) -> bool {
        let Some((end, id)) = self.ends.pop_front() else { return false };
        if self.gone.get(&id).is_some_and(|(known, _)| *known == end) {
            self.gone.remove(&id);
            return true;
        }
        // The id was used again, and what ended then is forgotten already.
        !self.gone.is_empty() && self.drop_oldest()
    }

    /// Whose the cgroup with this id is, or was.
    pub fn find(&self, id: u64) -> Option<Owner> {
        let known = self.live.get(&id).or_else(|| self.gone.get(&id).map(|(_, known)| known))?;
        Some(self.judge(known))
    }

    /// Whose a place is that was read from elsewhere.
    pub fn owner(&mut self, place: Place) -> Owner {
        let known = self.know(place);
        self.judge(&known)
    }

    /// How many are there, and how many are gone.
    pub fn len(&self) -> [usize; 2] {
        [self.live.len(), self.gone.len()]
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.gone.is_empty()
    }

    fn read(&mut self, path: &[u8]) -> Known {
        self.know(cgroup::parse(path))
    }

    fn know(&mut self, place: Place) -> Known {
        match place {
            Place::Container(Ids { container, pod, node, below_init }) => {
                if let Some(node) = node
                    && self.nodes.len() < NODES
                {
                    self.nodes.insert(node);
                }
                let pod = pod.map(|uid| Arc::new(Pod { uid, ..Pod::default() }));
                let container = Container { id: container, pod, ..Container::default() };
                Known { owner: Owner::Container(Arc::new(container)), below_init }
            }
            Place::Host(_) => Known { owner: Owner::Host, below_init: false },
            Place::Untold(_) => Known { owner: Owner::Untold, below_init: false },
        }
    }

    /// What stands below a container's init belongs to the container, unless that is a node.
    fn judge(&self, known: &Known) -> Owner {
        match &known.owner {
            Owner::Container(container) if known.below_init && self.nodes.contains(&container.id) => {
                Owner::Host
            }
            owner => owner.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const UID: &str = "0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f";

    fn id(owner: Option<Owner>) -> Option<String> {
        match owner? {
            Owner::Container(container) => Some(container.id.to_string()),
            Owner::Host => Some("host".to_owned()),
            Owner::Untold => Some("untold".to_owned()),
        }
    }

    fn path(id: &str) -> Vec<u8> {
        format!("/docker/{id}").into_bytes()
    }

    fn never(why: Evicted) {
        panic!("{why:?}");
    }

    #[test]
    fn a_container_outlives_its_cgroup_for_a_while() {
        let start = Instant::now();
        let mut containers = Containers::new(Limits::default());
        containers.made(7, &path(A), never);
        containers.removed(7, &path(A), start, never);
        assert_eq!(id(containers.find(7)).as_deref(), Some(A));
        assert_eq!(containers.len(), [0, 1]);
        containers.expire(start + Duration::from_secs(599), never);
        assert_eq!(id(containers.find(7)).as_deref(), Some(A));
        let mut evicted = Vec::new();
        containers.expire(start + Duration::from_secs(600), |why| evicted.push(why));
        assert_eq!((id(containers.find(7)), evicted), (None, vec![Evicted::Expired]));
        assert!(containers.is_empty());
    }

    #[test]
    fn an_id_that_is_used_again_is_the_new_owners() {
        let now = Instant::now();
        let mut containers = Containers::new(Limits::default());
        containers.made(7, &path(A), never);
        containers.removed(7, &path(A), now, never);
        containers.made(7, &path(B), never);
        assert_eq!(id(containers.find(7)).as_deref(), Some(B), "row 29");
        containers.expire(now + Duration::from_secs(900), never);
        assert_eq!(id(containers.find(7)).as_deref(), Some(B), "the old one's end is not the new one's");
        containers.made(7, &path(A), never);
        assert_eq!(id(containers.find(7)).as_deref(), Some(A), "also when the removal was not told");
    }

    #[test]
    fn rooms_are_bounded() {
        let now = Instant::now();
        let mut containers = Containers::new(Limits { live: 2, gone: 2, ..Limits::default() });
        let mut evicted = Vec::new();
        for id in 1..=3 {
            containers.made(id, &path(A), |why| evicted.push(why));
        }
        assert_eq!(evicted, [Evicted::Limit]);
        assert_eq!(containers.find(3), None, "the newest is not taken; it can be looked up");
        evicted.clear();
        for id in 1..=100 {
            containers.removed(id, &path(A), now, |why| evicted.push(why));
            // Used again each time: the queue of ends must not grow for it.
            containers.made(1000, &path(A), never);
            containers.removed(1000, &path(A), now, |why| evicted.push(why));
        }
        assert!(evicted.iter().all(|why| *why == Evicted::GoneLimit));
        assert_eq!(containers.len(), [0, 2]);
        assert!(containers.ends.len() <= 6, "{}", containers.ends.len());
    }

    #[test]
    fn what_is_below_init_is_the_containers_unless_it_is_a_node() {
        let mut containers = Containers::new(Limits::default());
        let init = format!("/system.slice/docker-{A}.scope/init.scope");
        containers.made(7, init.as_bytes(), never);
        assert_eq!(id(containers.find(7)).as_deref(), Some(A), "row 20");
        let pod = format!("/system.slice/docker-{A}.scope/kubepods/pod{UID}/{B}");
        containers.made(8, pod.as_bytes(), never);
        assert_eq!(id(containers.find(7)).as_deref(), Some("host"), "row 11");
        assert_eq!(id(containers.find(8)).as_deref(), Some(B));
        let place = cgroup::parse(init.as_bytes());
        assert_eq!(id(Some(containers.owner(place))).as_deref(), Some("host"));
    }
}
