//! The agent: the stages, started in the order in which an event passes them and stopped in the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::Config;
use crate::ledger::Ledger;
use crate::node;
use crate::output::{Outputs, http};

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

    shutdown.await;

    pages.stopping();
    if timeout(DRAIN_LIMIT, outputs.close()).await.is_err() {
        tracing::warn!(limit = ?DRAIN_LIMIT, "not all events could be printed before the end");
    }
    server.abort();
    Ok(())
}
