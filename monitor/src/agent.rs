//! The agent: the stages, started in the order in which an event passes them and stopped in the same.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::capture::audit::AuditOptions;
#[cfg(feature = "ebpf")]
use crate::capture::ebpf::{Attach, EbpfOptions, Silent};
use crate::capture::{self, Choice, Printed, Source, backlog};
use crate::cluster::Cluster;
use crate::config::{Config, PodSourceChoice, SourceChoice};
#[cfg(feature = "ebpf")]
use crate::config::{LogLevel, SilentDenials};
use crate::identity::containers::Limits;
use crate::identity::names::Names;
use crate::identity::pods::{self, Pods, client, index};
use crate::identity::resolver::Resolver;
use crate::identity::runtime::Runtimes;
use crate::ledger::{Ledger, StateFailure};
use crate::node::{self, Hierarchy, Node};
use crate::output::metrics::Presence;
use crate::output::{Outputs, http, live};
use crate::pipeline::Pipeline;
use crate::state::{Checkpoint, Lock, LockError, Since};

/// How long the drain may take: less than the 5 s that an orchestrator is promised.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);

/// How often series that have ended are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Runs the agent until `shutdown` is ready, then drains it.
///
/// Fails only for what the user must mend before it can run at all: a taken port, a file that cannot be
/// written. A source that does not work is logged, exported, and done without.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let ledger = Arc::new(Ledger::default());
    let listener = http::bind(config.listen).await?;
    let lock = match Lock::take(&config.state_dir) {
        Ok(lock) => Some(lock),
        Err(taken @ LockError::Taken { .. }) => return Err(taken.into()),
        Err(error) => {
            ledger.state_failed(StateFailure::Lock);
            tracing::warn!(%error, "no state directory: a second agent on this node would go unnoticed");
            None
        }
    };
    let outputs = Arc::new(Outputs::new(&config, &ledger)?);
    let node = Arc::new(Node::default());
    outputs.metrics().tell_of_node(Arc::clone(&node));
    outputs.live().tell_of_confinement(Arc::clone(&node.confinement));
    let pages = Arc::new(http::Pages::new(Arc::clone(outputs.metrics())));
    // The address that was got: port 0 asks for any.
    let address = listener.local_addr().unwrap_or(config.listen);
    let server = tokio::spawn(http::serve(listener, Arc::clone(&pages)));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving http://{address}/metrics");
    #[cfg(feature = "ebpf")]
    if config.no_pin || !config.source.includes(Source::Ebpf) {
        detach(&config, lock.is_some());
    }
    let writer = tokio::spawn(Arc::clone(outputs.history()).keep_writing());
    let live = match live::bind(&config.socket) {
        Ok(listener) => Some(tokio::spawn(live::serve(listener, Arc::clone(outputs.live())))),
        Err(error) => {
            tracing::warn!(
                "tail, status and suggest cannot reach this agent: cannot listen at {}: {error}; \
                 name another place with --socket",
                config.socket.display()
            );
            None
        }
    };
    if !node::apparmor_enabled() {
        tracing::warn!(
            "AppArmor is not enabled in this kernel: there is nothing to count until it is booted with \
             apparmor=1 security=apparmor"
        );
    }

    let pods = pods::start(pod_options(&config));
    ledger.set_pods(Arc::clone(&pods));
    let sweeping = tokio::spawn(sweep(Arc::clone(&outputs), Arc::clone(&pods)));
    let stop = CancellationToken::new();
    let mut shutdown = pin!(shutdown);
    let streams = tokio::select! {
        streams = capture::start(options(&config, outputs.printed()), &ledger, &stop) => streams,
        // Loading programs may take longer than a drain; nothing has been captured yet.
        () = &mut shutdown => return Ok(()),
    };
    // After the sources: what happens from here on reaches the agent by them.
    let (checkpoint, since) = checkpoint(&config, &ledger, lock.is_some());
    let since = since.filter(|_| !streams.adopted);
    let backlog = match since {
        Some(_) => tokio::task::spawn_blocking(backlog::read).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let cluster = Cluster::start(&config, &node, &pods, &outputs).await;
    // After the sources: a cgroup that is made while the tree is walked is told of by both.
    let limits = Limits { keep: config.keep_gone.duration(), ..Limits::default() };
    let resolver = Resolver::new(Arc::clone(&ledger), Hierarchy::of_node(), limits);
    let (sink, settler, quiet) = (Arc::clone(&outputs), Arc::clone(&outputs), Arc::clone(&outputs));
    let profiles = Arc::clone(&node.profiles);
    let names = Names::new(pods, Runtimes::of_host());
    let pipeline = Pipeline::new(Arc::clone(&ledger), streams.both, resolver, names, move |event| {
        profiles.observe(event.violation);
        sink.observe(event);
    })
    .settling(move |receipt| settler.settle(receipt))
    .unrecorded(capture::silent::collect(&ledger, stop.clone()), move |denials| {
        quiet.observe_unrecorded(denials);
    })
    .checking(checkpoint);
    let pipeline = match since {
        Some(since) => pipeline.recovering(backlog, since),
        None => pipeline,
    };
    let pipeline = tokio::spawn(pipeline.run(streams.ebpf, streams.audit));

    shutdown.await;

    pages.stopping();
    // The sources hand over what the kernel still has and close their queues, which ends the pipeline.
    stop.cancel();
    let drained = async {
        streams.tasks.join_all().await;
        if let Err(panicked) = pipeline.await {
            tracing::error!("the pipeline failed: {panicked}");
        }
        outputs.close().await;
        cluster.close().await;
    };
    if timeout(DRAIN_LIMIT, drained).await.is_err() {
        tracing::warn!(limit = ?DRAIN_LIMIT, "not all events could be counted and printed before the end");
    }
    writer.abort();
    if let Some(live) = live {
        live.abort();
        let _ = std::fs::remove_file(&config.socket);
    }
    server.abort();
    sweeping.abort();
    drop(lock);
    Ok(())
}

/// Opens the checkpoint; what it says of the agent before.
fn checkpoint(config: &Config, ledger: &Ledger, alone: bool) -> (Option<Checkpoint>, Option<Since>) {
    // Without the lock, another agent may be writing it.
    if !alone {
        return (None, None);
    }
    match Checkpoint::open(&config.state_dir) {
        Ok((checkpoint, since)) => (Some(checkpoint), since),
        Err(error) => {
            ledger.state_failed(StateFailure::Checkpoint);
            tracing::warn!(%error, "no checkpoint in {}: the next agent recovers nothing", config.state_dir.display());
            (None, None)
        }
    }
}

/// Removes what an agent before has pinned, where this one does not take it over: the programs would fill a
/// ring that nobody reads, and whoever read it later would count all of that again.
#[cfg(feature = "ebpf")]
fn detach(config: &Config, alone: bool) {
    let pins = config.pin_dir.display();
    if !alone {
        return;
    }
    match capture::ebpf::detach(&config.pin_dir) {
        Ok(true) => tracing::warn!("{pins}: pinned by an agent before, not taken over, and removed"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "{pins}: pinned by an agent before, and cannot be removed"),
    }
}

/// Ends the series of pods that are gone, now and then, until it is dropped.
async fn sweep(outputs: Arc<Outputs>, pods: Arc<Pods>) {
    let mut tick = interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        let here = pods.snapshot();
        let here: HashSet<(&str, &str)> =
            here.iter().map(|kube| (&*kube.pod.namespace, &*kube.pod.name)).collect();
        let told = pods.up() && pods.synced();
        outputs.metrics().sweep(Instant::now(), |namespace, name| match here.contains(&(namespace, name)) {
            true => Presence::Here,
            false if told => Presence::Gone,
            false => Presence::Unknown,
        });
    }
}

/// How this node's pods are asked for.
pub(crate) fn pod_options(config: &Config) -> pods::Options {
    let source = match config.pod_source {
        PodSourceChoice::Api => Some(pods::Source::Api),
        PodSourceChoice::Kubelet => Some(pods::Source::Kubelet),
        PodSourceChoice::Auto if client::configured(config.kubeconfig.as_deref()) => Some(pods::Source::Api),
        PodSourceChoice::Auto | PodSourceChoice::None => None,
    };
    pods::Options {
        source,
        node_name: config.node_name.clone(),
        kubeconfig: config.kubeconfig.clone(),
        kubelet_url: config.kubelet_url.clone(),
        kubelet_trust: pods::Trust {
            ca: config.kubelet_ca.clone(),
            insecure: config.kubelet_insecure,
            service_account: None,
        },
        limits: index::Limits { keep: config.keep_gone.duration(), ..index::Limits::default() },
    }
}

fn options(config: &Config, printed: Option<Printed>) -> capture::Options {
    capture::Options {
        choice: match config.source {
            SourceChoice::Auto => Choice::Auto,
            SourceChoice::Ebpf => Choice::Only(Source::Ebpf),
            SourceChoice::Audit => Choice::Only(Source::Audit),
        },
        #[cfg(feature = "ebpf")]
        ebpf: EbpfOptions {
            ring_bytes: u32::try_from(config.ring_size.bytes()).unwrap_or(u32::MAX),
            attach: Attach::Auto,
            silent: match config.silent_denials {
                SilentDenials::Off => Silent::Off,
                SilentDenials::On => Silent::On,
                SilentDenials::All => Silent::All,
            },
            cgroups: Hierarchy::of_node(),
            log: config.log_level == LogLevel::Trace,
            pin_dir: (!config.no_pin).then(|| config.pin_dir.clone()),
        },
        audit: AuditOptions { buffer: usize::try_from(config.netlink_buffer.bytes()).unwrap_or(usize::MAX) },
        queue_length: config.queue_length,
        printed,
    }
}
