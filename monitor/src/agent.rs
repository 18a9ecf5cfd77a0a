//! The agent: the stages, started in the order in which an event passes them and stopped in the same.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::capture::audit::AuditOptions;
#[cfg(feature = "ebpf")]
use crate::capture::ebpf::{Attach, EbpfOptions};
use crate::capture::{self, Choice, Source};
use crate::cluster::Cluster;
#[cfg(feature = "ebpf")]
use crate::config::LogLevel;
use crate::config::{Config, SourceChoice};
use crate::identity::pods::{self, client};
use crate::ledger::Ledger;
use crate::node::{self, Node};
use crate::output::{Outputs, http};
use crate::pipeline::Pipeline;

/// How long the drain may take: less than the 5 s that an orchestrator is promised.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);

/// Runs the agent until `shutdown` is ready, then drains it.
///
/// Fails only for what the user must mend before it can run at all: a taken port, a file that cannot be
/// written. A source that does not work is logged, exported, and done without.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let ledger = Arc::new(Ledger::default());
    let listener = http::bind(config.listen).await?;
    let outputs = Arc::new(Outputs::new(&config, &ledger)?);
    let node = Arc::new(Node::default());
    outputs.metrics().tell_of_node(Arc::clone(&node));
    let pages = Arc::new(http::Pages::new(Arc::clone(outputs.metrics())));
    // The address that was got: port 0 asks for any.
    let address = listener.local_addr().unwrap_or(config.listen);
    let server = tokio::spawn(http::serve(listener, Arc::clone(&pages)));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving http://{address}/metrics");
    if !node::apparmor_enabled() {
        tracing::warn!(
            "AppArmor is not enabled in this kernel: there is nothing to count until it is booted with \
             apparmor=1 security=apparmor"
        );
    }

    let stop = CancellationToken::new();
    let mut shutdown = pin!(shutdown);
    let streams = tokio::select! {
        streams = capture::start(options(&config), &ledger, &stop) => streams,
        // Loading programs may take longer than a drain; nothing has been captured yet.
        () = &mut shutdown => return Ok(()),
    };
    let source = client::configured(None).then_some(pods::Source::Api);
    let pods = pods::start(pods::Options { source, ..pods::Options::default() });
    let cluster = Cluster::start(&config, &node, &pods, &outputs).await;
    let (sink, profiles) = (Arc::clone(&outputs), Arc::clone(&node.profiles));
    let pipeline = Pipeline::new(Arc::clone(&ledger), streams.both_since, move |event| {
        profiles.observe(event.violation);
        sink.observe(event);
    });
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
    server.abort();
    Ok(())
}

fn options(config: &Config) -> capture::Options {
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
            log: config.log_level == LogLevel::Trace,
        },
        audit: AuditOptions { buffer: usize::try_from(config.netlink_buffer.bytes()).unwrap_or(usize::MAX) },
        queue_length: config.queue_length,
    }
}
