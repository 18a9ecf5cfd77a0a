//! Denials without a record: whose they were.
//!
//! They come as counts, a second late at most, and each with the cgroup that the kernel named. A container is known
//! for longer than that after its end.

use std::time::Instant;

use super::Identity;
use super::naming::Naming;
use super::resolver::Resolver;
use crate::capture::SilentDenial;

/// For how many readings a name is waited for; a second each.
const READINGS: u8 = 3;

/// Denials without a record, and whose they were.
#[derive(Clone, Copy, Debug)]
pub struct Unrecorded<'a> {
    /// What was refused, how often since the last reading, and why it has no record.
    pub denial: &'a SilentDenial,
    /// Whose they were.
    pub subject: &'a Identity,
}

/// Those that wait for their container's name: no more than are read in [`READINGS`] readings, each of which the
/// kernel's map bounds.
#[derive(Debug, Default)]
pub struct Unnamed(Vec<(SilentDenial, Identity, u8)>);

impl Unnamed {
    /// Takes in a reading, and tells `output` of those that have a name, need none, or have waited for long enough.
    pub fn read<T>(
        &mut self,
        read: Vec<SilentDenial>,
        resolver: &mut Resolver,
        naming: &mut Naming<T>,
        output: &mut dyn FnMut(&Unrecorded<'_>),
        now: Instant,
    ) {
        let Self(waiting) = self;
        // At once: whose a cgroup was is forgotten some day.
        waiting.extend(read.into_iter().map(|denial| {
            let subject = resolver.of_cgroup(denial.cgroup_id, now);
            (denial, subject, 0)
        }));
        waiting.retain_mut(|(denial, subject, readings)| {
            *readings += 1;
            if *readings <= READINGS && naming.awaits(subject) {
                return true;
            }
            naming.name(subject, None, now);
            output(&Unrecorded { denial, subject });
            false
        });
    }

    /// Tells of those that still wait, by the names that are known now.
    pub fn drain<T>(
        &mut self,
        naming: &mut Naming<T>,
        output: &mut dyn FnMut(&Unrecorded<'_>),
        now: Instant,
    ) {
        for (denial, mut subject, _) in std::mem::take(&mut self.0) {
            naming.name(&mut subject, None, now);
            output(&Unrecorded { denial: &denial, subject: &subject });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::capture::SilentReason;
    use crate::identity::containers;
    use crate::identity::names::Names;
    use crate::identity::pods::index::Limits;
    use crate::identity::pods::{Pods, Source};
    use crate::identity::process::Processes;
    use crate::identity::runtime::Runtimes;
    use crate::ledger::Ledger;
    use crate::node::Attachments;
    use crate::record::{CgroupChange, Class};

    const POD: &str = "0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f";

    fn denial(cgroup_id: u64, count: u64) -> SilentDenial {
        SilentDenial {
            class: Class::File,
            operation: b"open".to_vec(),
            profile: b"web".to_vec(),
            namespace: Vec::new(),
            example: Vec::new(),
            capability: None,
            cgroup_id,
            reason: SilentReason::QuietRule,
            count,
            read: SystemTime::UNIX_EPOCH,
        }
    }

    /// What is told at each of these readings, and at the end, where the pod of cgroup 40 gets its name before
    /// the reading of this number.
    fn told(readings: Vec<Vec<SilentDenial>>, named_at: usize) -> Vec<Vec<String>> {
        let proc = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::default());
        let processes = Processes::at(proc.path());
        let mut resolver =
            Resolver::with(ledger, None, processes, Attachments::default(), containers::Limits::default());
        let id = "a".repeat(64);
        let path = format!("/kubepods/pod{POD}/{id}");
        resolver.cgroup(CgroupChange { id: 40, path: path.as_bytes(), gone: false }, Instant::now());
        let pods = Arc::new(Pods::new(Some(Source::Api), Limits::default()));
        pods.set_up(true);
        let mut naming: Naming<()> =
            Naming::new(Names::new(Arc::clone(&pods), Runtimes::new("/nonexistent")));
        let mut unnamed = Unnamed::default();
        let mut all = Vec::new();
        let shown = |unrecorded: &Unrecorded<'_>| {
            let pod = unrecorded.subject.pod().map(|pod| pod.name.to_string());
            format!("{} of {}", unrecorded.denial.count, pod.unwrap_or_else(|| "host".to_owned()))
        };
        for (at, reading) in readings.into_iter().enumerate() {
            if at == named_at {
                let pod = serde_json::json!({
                    "metadata": { "namespace": "shop", "name": "web-1", "uid": POD },
                    "spec": { "containers": [{ "name": "app" }] },
                    "status": { "containerStatuses": [{ "name": "app", "containerID": format!("containerd://{id}") }] },
                });
                pods.apply(serde_json::from_value(pod).unwrap());
            }
            let mut now = Vec::new();
            let mut output = |unrecorded: &Unrecorded<'_>| now.push(shown(unrecorded));
            unnamed.read(reading, &mut resolver, &mut naming, &mut output, Instant::now());
            all.push(now);
        }
        let mut end = Vec::new();
        unnamed.drain(&mut naming, &mut |unrecorded| end.push(shown(unrecorded)), Instant::now());
        all.push(end);
        all
    }

    #[test]
    fn a_name_is_waited_for_and_nothing_else() {
        let (new, host) = (denial(40, 3), denial(1, 2));
        let none = Vec::new;
        for (name, readings, named_at, want) in [
            ("known", vec![vec![new.clone()]], 0, vec![vec!["3 of web-1"], vec![]]),
            ("the host", vec![vec![host.clone()]], 9, vec![vec!["2 of host"], vec![]]),
            (
                "named a moment later",
                vec![vec![new.clone(), host.clone()], none(), none()],
                2,
                vec![vec!["2 of host"], vec![], vec!["3 of web-1"], vec![]],
            ),
            (
                "never named",
                vec![vec![new.clone()], none(), none(), none()],
                9,
                vec![vec![], vec![], vec![], vec!["3 of "], vec![]],
            ),
            ("the end", vec![vec![new.clone()]], 9, vec![vec![], vec!["3 of "]]),
        ] {
            assert_eq!(told(readings, named_at), want, "{name}");
        }
    }
}
