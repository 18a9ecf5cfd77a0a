//! Scenario `shop`: pods of a few workloads that violate their profiles in different ways, one that lacks its
//! profile and one that runs under another, until the host ends the machine. Its dashboards are the pictures of the
//! documentation.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{ApiServer, Resource};
use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::agent::{Agent, Chart};
use crate::bundle::Bundle;
use crate::confined;
use crate::console::say;
use crate::containers::runc;

const NODE: &str = "worker-1";
const PAUSE: Duration = Duration::from_millis(300);
/// After so many rounds the last workload begins to violate: something new on a graph.
const NEW_AFTER: usize = 3;

/// A pod with one container of the same name as its workload.
struct Member {
    namespace: &'static str,
    workload: &'static str,
    /// What follows the workload in the pod's name.
    suffix: &'static str,
    /// The profile that it asks for.
    asks: Option<&'static str>,
    /// The one that it runs under; none when it does not run.
    runs: Option<&'static str>,
    /// What it does in each round.
    acts: &'static [&'static [&'static str]],
}

const fn member(
    namespace: &'static str,
    workload: &'static str,
    suffix: &'static str,
    profile: &'static str,
    acts: &'static [&'static [&'static str]],
) -> Member {
    Member { namespace, workload, suffix, asks: Some(profile), runs: Some(profile), acts }
}

const SECRET: &str = "/data/secret";

const MEMBERS: [Member; 8] = [
    member(
        "shop",
        "cart",
        "6c9f-2xkqz",
        "shop-web",
        &[&["--times", "6", "open", SECRET], &["--times", "2", "inet"]],
    ),
    member("shop", "cart", "6c9f-8hd4w", "shop-web", &[&["--times", "3", "open", SECRET]]),
    member(
        "shop",
        "payment",
        "7d4b-m5tn9",
        "shop-pay",
        &[&["--times", "2", "create", "/data/spool"], &["--times", "2", "userns"], &["packet"]],
    ),
    member(
        "data",
        "search",
        "5f8d-qqx2v",
        "shop-search",
        &[
            &["--times", "9", "open", SECRET],
            &["--times", "4", "inet_dgram"],
            &["--times", "2", "create", "/data/index"],
            &["chmod", SECRET],
        ],
    ),
    Member {
        asks: Some("shop-web"),
        ..member("data", "report", "58c7-jr6vl", "shop-batch", &[&["--times", "3", "mmap", SECRET]])
    },
    Member { asks: None, ..member("data", "cache", "66b5-zt8nd", "unconfined", &[]) },
    Member { runs: None, ..member("shop", "checkout", "9d5c-vb7lp", "shop-checkout", &[]) },
    member(
        "shop",
        "mailer",
        "84fd-c2mpx",
        "shop-pay",
        &[&["--times", "4", "netlink"], &["link", SECRET, "/data/l"]],
    ),
];

impl Member {
    fn pod(&self) -> String {
        format!("{}-{}", self.workload, self.suffix)
    }

    /// The container's id: the pod's name in letters of an id.
    fn id(&self) -> String {
        let digits: String = self.pod().bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{digits:0<64}").chars().take(64).collect()
    }

    fn uid(&self) -> String {
        let tail: u64 =
            self.pod().bytes().fold(0, |sum, byte| (sum * 131 + u64::from(byte)) & 0xffff_ffff_ffff);
        format!("0fbc5e4a-2a4b-4c5d-9e6f-{tail:012x}")
    }

    /// As the API server shows it.
    fn object(&self) -> Value {
        let id = self.runs.map(|_| self.id()).unwrap_or_default();
        let hash = self.suffix.split('-').next().unwrap_or_default();
        let pod = Pod::new(self.namespace, &self.pod(), &self.uid())
            .on(NODE)
            .label("pod-template-hash", hash)
            .owned_by("ReplicaSet", &format!("{}-{hash}", self.workload))
            .container(self.workload, &id);
        let mut object = pod.json();
        if let Some(profile) = self.asks
            && let Some(container) = object.pointer_mut("/spec/containers/0").and_then(Value::as_object_mut)
        {
            let profile = json!({ "type": "Localhost", "localhostProfile": profile });
            container.insert("securityContext".to_owned(), json!({ "appArmorProfile": profile }));
        }
        object
    }

    /// Starts its container in the cgroup that a kubelet would give it.
    fn start(&self, profile: &str) -> Result<()> {
        let folder = PathBuf::from("/tmp/pods").join(self.pod());
        let cgroup = format!("/kubepods/burstable/pod{}/{}", self.uid(), self.id());
        Bundle { cgroup: &cgroup, profile, arguments: &["wait"], secret: Some(SECRET) }.write(&folder)?;
        runc(&["run", "--detach", "--bundle", &folder.to_string_lossy(), &self.pod()]).map(drop)
    }

    /// Does one thing in its container; that it is refused is the point.
    fn act(&self, words: &[&str]) {
        let pod = self.pod();
        let _ = runc(&[&["exec", &*pod, "/bin/provoke"], words].concat());
    }
}

/// Plays the scenario. Returns when the agent ends.
pub(crate) fn play() -> Result<()> {
    confined::load("/etc/apparmor.d/shop.profiles")?;
    for member in &MEMBERS {
        if let Some(profile) = member.runs {
            member.start(profile).with_context(|| format!("running the container of {}", member.pod()))?;
        }
    }
    let server = ApiServer::start()?;
    for member in &MEMBERS {
        server.apply(&Resource::PODS, member.object());
    }
    let mut agent = Agent::start_in_cluster(
        Chart::Audit,
        &server.kubeconfig(None),
        NODE,
        &["--state-dir", "/tmp/state"],
    )?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    say(&Line::Ready("/metrics".into()));
    for round in 0.. {
        for (number, member) in MEMBERS.iter().enumerate() {
            // Each has a rhythm of its own, or the graphs would all be one.
            let rests = (round + number) % (number + 2) == 1;
            let new = number + 1 == MEMBERS.len() && round < NEW_AFTER;
            if rests || new {
                continue;
            }
            for words in member.acts {
                agent.still_runs()?;
                member.act(words);
                thread::sleep(PAUSE);
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
