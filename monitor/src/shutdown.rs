//! When to stop: the first SIGTERM or SIGINT asks, the second does not ask.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A future that is ready at the first SIGTERM or SIGINT.
///
/// The handlers stand when this returns. From the first signal on, a second one ends the process at once
/// with the shell's code for it (143, 130), whatever the drain is waiting for.
pub fn requested() -> io::Result<impl Future<Output = ()>> {
    let mut signals =
        Signals { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    Ok(async move {
        let name = signals.next().await.0;
        tracing::info!(signal = name, "stopping; a second signal stops at once");
        tokio::spawn(async move {
            let (_, number) = signals.next().await;
            std::process::exit(128 + number.as_raw_value());
        });
    })
}

struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> (&'static str, SignalKind) {
        tokio::select! {
            _ = self.term.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    }
}
