//! The suites: which boots make one, and what the guest plays in each.

use std::time::Duration;

use aa_monitor_tests::contract;
use anyhow::{Context, Result};

use super::image::Furnishing;

/// One boot of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Short, for lines and file names.
    pub(crate) name: &'static str,
    /// The guest's scenario.
    pub(crate) scenario: &'static str,
    /// The agent's `--source`.
    pub(crate) source: &'static str,
    /// More kernel parameters.
    pub(crate) kernel: &'static str,
    /// The wall-clock limit.
    pub(crate) limit: Duration,
}

impl Boot {
    /// Whether the machine's clock counts instructions instead of time.
    pub(crate) fn counting(&self) -> bool {
        [COST, START, IDLE, CROWD, BURST].iter().any(|boot| boot.scenario == self.scenario)
    }

    /// What the kernel command line says to the guest.
    pub(crate) fn parameters(&self) -> String {
        let Self { scenario, source, kernel, .. } = self;
        format!("{kernel} {}={scenario} {}={source}", contract::SCENARIO, contract::SOURCE)
    }
}

/// The suites whose guests have real programs, which would only slow the boots of the others.
const AUTHORS: &str = "authors";
const IMAGE: &str = "image";

/// A named set of boots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    /// What `--suite` calls it.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// Its boots.
    pub(crate) boots: &'static [Boot],
}

impl Suite {
    /// What its guest has beside the lab's own programs.
    pub(crate) fn furnishing(&self) -> Furnishing {
        match self.name {
            AUTHORS => Furnishing::Programs,
            IMAGE => Furnishing::Image,
            _ => Furnishing::Bare,
        }
    }
}

/// The round of `cargo xtask run --once`: the first boot of the smoke suite.
pub(crate) const ROUND: Boot =
    Boot { name: "both", scenario: "smoke", source: "auto", kernel: "", limit: LIMIT };

/// The machine of `cargo xtask run`, which the user ends.
pub(crate) const LIVE: Boot =
    Boot { name: "live", scenario: "workload", source: "auto", kernel: "", limit: LIMIT };

/// The machine that Prometheus watches, which the host ends.
pub(crate) const SRE: Boot = Boot { name: "prometheus", limit: Duration::from_secs(240), ..LIVE };

/// The machine whose dashboards are drawn, which the host ends.
pub(crate) const SHOP: Boot =
    Boot { name: "pictures", scenario: "shop", limit: Duration::from_secs(420), ..LIVE };

const LIMIT: Duration = Duration::from_secs(150);
/// For boots that go through many agents, many violations or many processes, on an emulated machine.
const LONG: Duration = Duration::from_secs(420);

/// The measurements of `cargo xtask bench vm`.
pub(crate) const COST: Boot =
    Boot { name: "cost", scenario: "cost", source: "none", kernel: "", limit: Duration::from_secs(600) };

/// How soon an agent is there, and what that takes.
pub(crate) const START: Boot =
    Boot { name: "start", scenario: "start", source: "auto", kernel: "", limit: LIMIT };

/// What it holds at rest, and how long a denial takes into its counter.
pub(crate) const IDLE: Boot =
    Boot { name: "idle", scenario: "idle", source: "auto", kernel: "", limit: LONG };

/// What it holds among many pods.
pub(crate) const CROWD: Boot =
    Boot { name: "crowd", scenario: "crowd", source: "auto", kernel: "", limit: Duration::from_secs(900) };

/// What it takes of a storm.
pub(crate) const BURST: Boot =
    Boot { name: "burst", scenario: "burst", source: "auto", kernel: "", limit: LONG };

/// What `cargo xtask guard` reads of the programs that the kernel has verified.
pub(crate) const PROGRAMS: Boot =
    Boot { name: "verified", scenario: "programs", source: "auto", kernel: "", limit: LIMIT };

/// All suites.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "smoke",
        about: "a fixed list of violations is in the counters, exactly: both sources, eBPF alone, audit alone; both tell the same; memory at start and at rest, the first violation, and from denial to counter are within their limits",
        boots: &[
            ROUND,
            Boot { name: "ebpf", scenario: "smoke", source: "auto", kernel: "audit=0", limit: LIMIT },
            Boot { name: "audit", scenario: "smoke", source: "audit", kernel: "", limit: LIMIT },
            Boot { name: "agree", scenario: "agree", source: "each", kernel: "", limit: LIMIT },
            START,
        ],
    },
    Suite {
        name: "containers",
        about: "denials in runc containers name the profile and carry the container's cgroup",
        boots: &[Boot { name: "runc", scenario: "containers", source: "auto", kernel: "", limit: LIMIT }],
    },
    Suite {
        name: "storm",
        about: "8 processes in 4 containers raise 200000 violations as fast as they can, a fifth container 100 slowly: counted and named as lost add up, and the 100 are all there, each once and as its own; auditd reads the same storm",
        boots: &[Boot { name: "storm", scenario: "storm", source: "auto", kernel: "", limit: LONG }],
    },
    Suite {
        name: "restart",
        about: "agents are ended and killed amid numbered violations, and replaced by another version: each number is told exactly once",
        boots: &[
            Boot { name: "same", scenario: "restart", source: "auto", kernel: "", limit: LONG },
            Boot { name: "upgrade", scenario: "upgrade", source: "auto", kernel: "", limit: LONG },
        ],
    },
    Suite {
        name: "recover",
        about: "without a BPF file system, what happens between two agents is read from the kernel's log: each number is told exactly once, and after a kill none twice",
        boots: &[Boot {
            name: "log",
            scenario: "recover",
            source: "auto",
            kernel: "audit_backlog_limit=8192",
            limit: LONG,
        }],
    },
    Suite {
        name: "faults",
        about: "a ring of a page, an audit socket of 4 KiB, an audit backlog of 3, a queue of 1, a state directory that is read-only or full: nothing dies, counted and named as lost is provoked",
        boots: &[Boot {
            name: "least",
            scenario: "faults",
            source: "each",
            kernel: "audit_backlog_limit=8192",
            limit: LONG,
        }],
    },
    Suite {
        name: "identity",
        about: "denials in containers of every layout, by runc and crun, are told as theirs, whatever became of them",
        boots: &[
            Boot {
                name: "both",
                scenario: "identity",
                source: "auto",
                kernel: "audit_backlog_limit=65536",
                limit: LONG,
            },
            Boot {
                name: "audit",
                scenario: "identity",
                source: "audit",
                kernel: "audit_backlog_limit=65536",
                limit: LONG,
            },
            Boot {
                name: "v1",
                scenario: "identity",
                source: "auto",
                kernel: "audit_backlog_limit=65536 aa_lab.cgroups=v1",
                limit: LONG,
            },
        ],
    },
    Suite {
        name: "silent",
        about: "what explicit rules, the capability cache and a quiet kernel refuse without a record is counted exactly and with its container, in every mode; off loads nothing",
        boots: &[Boot { name: "silent", scenario: "silent", source: "auto", kernel: "", limit: LONG }],
    },
    Suite {
        name: "kubernetes",
        about: "containers that run as their pods asked, others that do not, and what they are denied: metrics and Events, exactly",
        boots: &[
            Boot { name: "pods", scenario: "kubernetes", source: "auto", kernel: "", limit: LIMIT },
            // As the chart is installed, without the audit stream and its capability.
            Boot { name: "default", scenario: "kubernetes", source: "ebpf", kernel: "", limit: LIMIT },
            Boot { name: "denials", scenario: "denials", source: "auto", kernel: "", limit: LIMIT },
        ],
    },
    Suite {
        name: "sre",
        about: "Prometheus scrapes the agent: every expression of dashboards and rules has data, alerts reach Alertmanager",
        boots: &[SRE],
    },
    Suite {
        name: AUTHORS,
        about: "what real programs asked for in complain mode, suggested and loaded, lets them run without a violation; tail is prompt",
        boots: &[Boot { name: "loop", scenario: "authors", source: "auto", kernel: "", limit: LONG }],
    },
    Suite {
        name: IMAGE,
        about: "the image that `cargo xtask dist` makes, run by podman as docs/install.md tells, is small, has the privileges of the chart's default and no others, counts and names exactly, also what happens while it is stopped, and raises no record",
        boots: &[Boot { name: "podman", scenario: "image", source: "ebpf", kernel: "", limit: LONG }],
    },
    Suite {
        name: "records",
        about: "every operation once, and the records that the kernel wrote about it (kept as records.log)",
        boots: &[Boot { name: "records", scenario: "records", source: "none", kernel: "", limit: LIMIT }],
    },
];

/// The suite of that name.
pub(crate) fn find(name: &str) -> Result<Suite> {
    let found = SUITES.iter().copied().find(|suite| suite.name == name);
    let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
    found.with_context(|| format!("no suite is called {name}; there are {}", names.join(", ")))
}
