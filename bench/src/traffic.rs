//! Recorded violations as both sources bring them, again and again, with stamps of their own and from the
//! containers of a busy node.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aa_monitor::capture::Batch;
use aa_monitor::identity::pods::{KubePod, Pods};
use aa_monitor_ebpf::{CgroupHeader, Header, KIND_CGROUP_MADE, LEN_ABSENT, Slot, WIRE_VERSION};
use anyhow::{Context as _, Result, ensure};
use bstr::{ByteSlice as _, ByteVec as _};
use nix::time::ClockId;

use crate::dice::Dice;

/// Pods of the node, each with one container.
const PODS: u64 = 200;
/// Of how many pods a recorded violation comes.
const PODS_OF_ONE: u64 = 8;
/// Of so many violations one is the host's.
const HOST_ONE_IN: u64 = 10;
/// Cgroup ids below this are nobody's.
const FIRST_CGROUP: u64 = 10_000;
/// The root cgroup.
const HOST: u64 = 1;
/// What the audit stream calls AppArmor's records (linux/audit.h: `AUDIT_AVC`).
const AVC: u16 = 1400;

/// A recorded violation, without its stamp.
#[derive(Debug)]
struct Recorded {
    /// The audit record behind its stamp.
    text: Vec<u8>,
    header: Header,
    /// What the ring's record holds before and behind the stamp.
    before: Vec<u8>,
    after: Vec<u8>,
}

/// A source of violations that never ends.
#[derive(Debug)]
pub(crate) struct Traffic {
    recorded: Vec<Recorded>,
    dice: Dice,
    serial: u64,
}

impl Recorded {
    /// From a line `audit ..` and a line `ring ..` of a file of tests/fixtures/wire.
    fn read(audit: &str, ring: &str) -> Option<Self> {
        let text = Vec::unescape_bytes(audit.strip_prefix("audit ")?);
        let ring = Vec::unescape_bytes(ring.strip_prefix("ring ")?);
        let (_, text) = text.split_once_str("): ")?;
        let (header, strings) = ring.split_at_checked(size_of::<Header>())?;
        let header: Header = bytemuck::pod_read_unaligned(header);
        let length = |slot: Slot| {
            let length = header.lens().get(slot as usize).copied().unwrap_or(LEN_ABSENT);
            if length == LEN_ABSENT { 0 } else { usize::from(length) }
        };
        let (before, rest) = strings.split_at_checked(length(Slot::Operation))?;
        let (_, after) = rest.split_at_checked(length(Slot::Stamp))?;
        Some(Self { text: text.to_vec(), header, before: before.to_vec(), after: after.to_vec() })
    }
}

impl Traffic {
    /// Of these files of tests/fixtures/wire.
    pub(crate) fn of(files: &[String]) -> Result<Self> {
        let mut recorded = Vec::new();
        for file in files {
            let mut lines = file.lines().filter(|line| !line.starts_with('#'));
            while let (Some(audit), Some(ring)) = (lines.next(), lines.next()) {
                recorded.push(Recorded::read(audit, ring).with_context(|| format!("not a pair: {audit}"))?);
            }
        }
        ensure!(!recorded.is_empty(), "nothing was recorded");
        Ok(Self { recorded, dice: Dice::default(), serial: 0 })
    }

    /// The next violations, so many at most as fit into a batch: as the ring and as the audit stream bring them.
    pub(crate) fn next(&mut self, most: u64) -> Result<(Batch, Batch)> {
        let (wall, boot) = (SystemTime::now().duration_since(UNIX_EPOCH)?, ClockId::CLOCK_BOOTTIME.now()?);
        let boot = boot.tv_sec() as u64 * 1_000_000_000 + boot.tv_nsec() as u64;
        let now = Instant::now();
        let (mut ring, mut audit) = (Batch::new(now), Batch::new(now));
        while !ring.is_full() && !audit.is_full() && (ring.len() as u64) < most {
            self.serial += 1;
            let at = self.dice.below(self.recorded.len() as u64);
            let pod = (at * PODS_OF_ONE + self.dice.below(PODS_OF_ONE)) % PODS;
            let cgroup_id = if self.dice.below(HOST_ONE_IN) == 0 { HOST } else { FIRST_CGROUP + pod };
            let Some(Recorded { text, header, before, after }) = self.recorded.get(at as usize) else {
                break;
            };
            let stamp = format!("audit({}.{:03}:{}): ", wall.as_secs(), wall.subsec_millis(), self.serial);
            let mut header = Header { cgroup_id, boottime: boot, start_boottime: 1, ..*header };
            if header.target_tgid != 0 {
                header.target_cgroup_id = cgroup_id;
            }
            let lengths: &mut [u16] = bytemuck::cast_slice_mut(&mut header.lens);
            if let Some(length) = lengths.get_mut(Slot::Stamp as usize) {
                *length = u16::try_from(stamp.len())?;
            }
            ring.push_parts(&[bytemuck::bytes_of(&header), before, stamp.as_bytes(), after]);
            audit.push_parts(&[&AVC.to_ne_bytes(), stamp.as_bytes(), text]);
        }
        Ok((ring, audit))
    }
}

/// What tells of the containers of the node: a batch of the ring.
pub(crate) fn cgroups() -> Batch {
    let mut batch = Batch::new(Instant::now());
    for pod in 0..PODS {
        let header = CgroupHeader {
            version: WIRE_VERSION,
            kind: KIND_CGROUP_MADE,
            pad: 0,
            pad2: 0,
            id: FIRST_CGROUP + pod,
        };
        let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod";
        let (uid, id) = (uid(pod).replace('-', "_"), container_id(pod));
        let path = format!("{slice}{uid}.slice/cri-containerd-{id}.scope");
        batch.push_parts(&[bytemuck::bytes_of(&header), path.as_bytes()]);
    }
    batch
}

/// Tells of the node's pods as an API server does.
pub(crate) fn tell_pods(pods: &Pods) -> Result<()> {
    for pod in 0..PODS {
        let kube: KubePod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "namespace": format!("team-{}", pod % 12),
                "name": format!("web-{pod}-6c5f9d7b8-x{pod:04}"),
                "uid": uid(pod),
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{pod}-6c5f9d7b8"),
                    "uid": uid(PODS + pod), "controller": true,
                }],
            },
            "spec": { "containers": [{ "name": "app", "image": format!("registry.example/app-{pod}:1.2.3") }] },
            "status": {
                "phase": "Running",
                "containerStatuses": [{ "name": "app", "containerID": format!("containerd://{}", container_id(pod)) }],
            },
        }))
        .context("making up a pod")?;
        pods.apply(kube);
    }
    pods.set_up(true);
    Ok(())
}

fn uid(number: u64) -> String {
    format!("5f0c9d7e-6f3b-4d38-a1b5-{number:012x}")
}

fn container_id(number: u64) -> String {
    format!("{number:064x}")
}
