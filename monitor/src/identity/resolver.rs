//! Whose a violation is: the cgroup that the kernel named, else the process while it can be looked at, else
//! the profile where only one container runs under it. Whatever cannot be told is said to be unknown.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::by_profile::ByProfile;
use super::cgroup;
use super::containers::{Containers, Limits, Owner};
use super::process::{Processes, Sight};
use super::tree::Tree;
use super::{How, Identity, Unknown};
use crate::ledger::Ledger;
use crate::node::{Attachments, Hierarchy};
use crate::record::{CgroupChange, Class, Target, Task, Violation};

/// Both sides of a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The confined process that the profile decided about.
    pub subject: Identity,
    /// The other side of a signal or ptrace.
    pub peer: Option<Identity>,
}

/// Which process a record's profile belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The current one, and no other process is concerned.
    Alone,
    /// The current one, which signals or traces another.
    Acts,
    /// The other one: the target's profile refused the current process.
    Suffers,
}

/// A process as a record names it.
#[derive(Clone, Copy, Debug)]
struct Named {
    pid: Option<u32>,
    /// 0 when only the process id is known.
    cgroup: u64,
    sight: Option<Sight>,
}

/// Looking through the whole tree is for the exception; a flood of them must not make it the rule.
const WALK_EVERY: Duration = Duration::from_millis(100);
/// How often it is gone through what can be forgotten.
const FORGET_EVERY: Duration = Duration::from_millis(500);

/// Finds out who.
pub struct Resolver {
    ledger: Arc<Ledger>,
    containers: Containers,
    processes: Processes,
    tree: Option<Tree>,
    by_profile: ByProfile,
    /// When the tree may be looked at again.
    next_walk: Instant,
    next_forgetting: Instant,
    own_pid: u32,
    own_container: Option<Box<str>>,
}

impl Resolver {
    /// Walks the cgroup tree once, for what was there before.
    pub fn new(ledger: Arc<Ledger>, hierarchy: Hierarchy, limits: Limits) -> Self {
        let tree = Tree::of(hierarchy);
        if tree.is_none() {
            tracing::warn!(
                "no mount of the cgroup hierarchy from its root: containers that are older than the agent \
                 are found by their processes only; mount the host's /sys/fs/cgroup"
            );
        }
        Self::with(ledger, tree, Processes::at("/proc"), Attachments::default(), limits)
    }

    pub(super) fn with(
        ledger: Arc<Ledger>,
        tree: Option<Tree>,
        processes: Processes,
        attachments: Attachments,
        limits: Limits,
    ) -> Self {
        let now = Instant::now();
        let by_profile = ByProfile::new(tree.clone(), processes.clone(), attachments, limits.keep, now);
        let mut resolver = Self {
            ledger,
            containers: Containers::new(limits),
            processes,
            tree,
            by_profile,
            next_walk: now,
            next_forgetting: now,
            own_pid: std::process::id(),
            own_container: None,
        };
        resolver.walk(now);
        let own = std::fs::read("/proc/self/cgroup").ok().and_then(|file| cgroup::parse_file(&file));
        if let Some(Owner::Container(container)) = own.map(|place| resolver.containers.owner(place)) {
            resolver.own_container = Some(container.id.clone());
        }
        resolver
    }

    /// A cgroup was made or removed.
    pub fn cgroup(&mut self, change: CgroupChange<'_>, now: Instant) {
        let evict = |why| self.ledger.identity().evict(why);
        if change.gone {
            self.containers.removed(change.id, change.path, now, evict);
        } else {
            self.containers.made(change.id, change.path, evict);
        }
    }

    /// Forgets what has been gone for long enough.
    pub fn expire(&mut self, now: Instant) {
        self.containers.expire(now, |why| self.ledger.identity().evict(why));
        let [live, gone] = self.containers.len();
        self.ledger.identity().set_known(live, gone);
        if now >= self.next_forgetting {
            self.next_forgetting = now + FORGET_EVERY;
            self.by_profile.expire(now, since_epoch());
        }
    }

    /// Whose this violation is. To be asked at once: processes end. `wall_minus_boot` is what has to be added
    /// to the kernel's boot time to get nanoseconds since the epoch.
    pub fn resolve(&mut self, violation: &Violation<'_>, wall_minus_boot: u64, now: Instant) -> Who {
        let (current, target) = named(violation, wall_minus_boot);
        match (role(violation), target) {
            (Role::Alone, _) => Who { subject: self.identify(current, violation, now), peer: None },
            (Role::Acts, target) => Who {
                subject: self.identify(current, violation, now),
                peer: target.map(|target| self.identify_peer(target, now)),
            },
            (Role::Suffers, target) => {
                let victim = match target {
                    Some(target) => self.look(target, now),
                    None => Err(Unknown::VictimUnknown),
                };
                Who {
                    subject: self.or_by_profile(victim, target, violation, now),
                    peer: Some(self.identify_peer(current, now)),
                }
            }
        }
    }

    /// Whose cgroup this is; 0 is one that is not known. Nothing else is asked: what is told late has no process.
    pub fn of_cgroup(&mut self, cgroup: u64, now: Instant) -> Identity {
        let found = self.look(Named { pid: None, cgroup, sight: None }, now);
        self.finish(found, None)
    }

    fn identify(&mut self, process: Named, violation: &Violation<'_>, now: Instant) -> Identity {
        let found = self.look(process, now);
        self.or_by_profile(found, Some(process), violation, now)
    }

    /// The profile in a record is the subject's, so that a peer cannot be told by it.
    fn identify_peer(&mut self, process: Named, now: Instant) -> Identity {
        let found = self.look(process, now);
        self.finish(found, process.pid)
    }

    fn or_by_profile(
        &mut self,
        found: Result<(Owner, How), Unknown>,
        process: Option<Named>,
        violation: &Violation<'_>,
        now: Instant,
    ) -> Identity {
        let pid = process.and_then(|process| process.pid);
        let found = match found {
            Err(why) => {
                let alone = self.by_profile.find(violation, &mut self.containers, now, since_epoch());
                alone.map(|container| (Owner::Container(container), How::Profile)).ok_or(why)
            }
            Ok((owner, how)) => {
                self.by_profile.note(violation, &owner, now);
                Ok((owner, how))
            }
        };
        self.finish(found, pid)
    }

    fn finish(&self, found: Result<(Owner, How), Unknown>, pid: Option<u32>) -> Identity {
        let own = pid == Some(self.own_pid);
        match found {
            Ok((Owner::Container(container), how)) => {
                let own = own || self.own_container.as_ref() == Some(&container.id);
                Identity { container: Some(container), how, own }
            }
            Ok((Owner::Host, _)) => Identity { container: None, how: How::Host, own },
            Ok((Owner::Untold, _)) => Identity { own, ..Identity::unknown(Unknown::CgroupUnknown) },
            Err(why) => Identity { own, ..Identity::unknown(why) },
        }
    }

    /// By the cgroup, else by the process.
    fn look(&mut self, process: Named, now: Instant) -> Result<(Owner, How), Unknown> {
        /// The root of a hierarchy.
        const ROOT: u64 = 1;
        let why = match process.cgroup {
            0 => Unknown::NoProcess,
            ROOT => return Ok((Owner::Host, How::Cgroup)),
            id => match self.by_cgroup(id, now) {
                Some(owner) => return Ok((owner, How::Cgroup)),
                None => Unknown::CgroupUnknown,
            },
        };
        let (Some(pid), Some(sight)) = (process.pid, process.sight) else { return Err(why) };
        let place = self.processes.place(pid, sight).map_err(|gone| match why {
            // That the cgroup was unknown comes first: with its name nobody had asked for the process.
            Unknown::CgroupUnknown => why,
            _ => gone,
        })?;
        Ok((self.containers.owner(place), How::Proc))
    }

    /// What is not known is looked for in the tree, if that has not been walked through a moment ago.
    fn by_cgroup(&mut self, id: u64, now: Instant) -> Option<Owner> {
        if let Some(owner) = self.containers.find(id) {
            return Some(owner);
        }
        self.walk(now);
        self.containers.find(id)
    }

    fn walk(&mut self, now: Instant) {
        let Some(tree) = &self.tree else { return };
        if now < self.next_walk {
            return;
        }
        self.next_walk = now + WALK_EVERY;
        let counts = self.ledger.identity();
        counts.walk();
        tree.walk(|id, path| self.containers.made(id, path, |why| counts.evict(why)));
    }
}

/// The current process and the target as the record names them.
fn named(violation: &Violation<'_>, wall_minus_boot: u64) -> (Named, Option<Named>) {
    let started = |start| (start != 0).then_some(Sight::Started(start));
    match violation.task {
        Some(Task { cgroup_id, tid: _, start_boottime, target }) => {
            let current = Named { pid: violation.pid, cgroup: cgroup_id, sight: started(start_boottime) };
            let target = target.map(|Target { pid, cgroup_id, start_boottime }| Named {
                pid: Some(pid),
                cgroup: cgroup_id,
                sight: started(start_boottime),
            });
            (current, target)
        }
        None => {
            let seen = violation.time.and_then(|time| time.checked_sub(wall_minus_boot));
            (Named { pid: violation.pid, cgroup: 0, sight: seen.map(Sight::Seen) }, None)
        }
    }
}

/// By `aa_may_signal` and `aa_may_ptrace` (security/apparmor/ipc.c, task.c): both sides are asked, each
/// under its own profile, and the current task is the one that acts in both records.
fn role(violation: &Violation<'_>) -> Role {
    if !matches!(violation.class, Class::Signal | Class::Ptrace) {
        return Role::Alone;
    }
    match violation.denied_mask.or(violation.requested_mask) {
        Some(b"receive" | b"readby" | b"tracedby") => Role::Suffers,
        _ => Role::Acts,
    }
}

/// Nanoseconds since the epoch.
fn since_epoch() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
