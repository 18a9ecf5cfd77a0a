//! A scrape of as many series as an agent keeps, over HTTP, client included.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use aa_monitor::identity::{Container, How, Identity, Pod};
use aa_monitor::ledger::Ledger;
use aa_monitor::merge::{Event, SeenBy};
use aa_monitor::output::http::{self, Pages};
use aa_monitor::output::metrics::Metrics;
use aa_monitor::record::{Class, OPERATIONS, Origin, Verdict, Violation};
use anyhow::{Context as _, Result, ensure};
use nix::sys::time::TimeValLike as _;
use nix::time::ClockId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::allocations;

/// What `aa-monitor run` has by default.
const SERIES_LIMIT: usize = 5_000;
const PODS: usize = 200;
/// Operations that each pod is refused: with the times of the latest, this fills the series.
const OPERATIONS_OF_ONE: usize = 24;
/// Scrapes before the clock starts.
const WARM_UP: u64 = 3;
/// What of the limit may be left over: a new label set takes two.
const LEFT_OVER: usize = 2;

/// Scrapes so many times and prints how long that took, as JSON: `understood` are the series.
///
/// The clock is the process's: what serves and what asks are different threads.
pub(crate) fn run(scrapes: u64) -> Result<()> {
    let metrics = Arc::new(Metrics::new(Arc::new(Ledger::default()), SERIES_LIMIT)?);
    fill(&metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = http::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        tokio::spawn(http::serve(listener, Arc::new(Pages::new(metrics))));
        let mut series = 0;
        for _ in 0..WARM_UP {
            series = count(&scrape(address).await?);
        }
        ensure!(series + LEFT_OVER >= SERIES_LIMIT, "{series} series are not as many as there can be");
        let (start, asked) = (ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?, allocations::asked());
        for _ in 0..scrapes {
            scrape(address).await?;
        }
        let nanos = (ClockId::CLOCK_PROCESS_CPUTIME_ID.now()? - start).num_nanoseconds();
        let asked = allocations::asked() - asked;
        writeln!(
            std::io::stdout(),
            r#"{{"records":{scrapes},"understood":{series},"nanos":{nanos},"allocations":{asked}}}"#
        )
        .context("writing the result")
    })
}

/// Has so many pods be refused so many things that no more series fit.
fn fill(metrics: &Metrics) {
    for number in 0..PODS {
        let pod = Pod {
            uid: format!("5f0c9d7e-6f3b-4d38-a1b5-{number:012x}").into(),
            namespace: format!("team-{}", number % 12).into(),
            name: format!("web-{number}-6c5f9d7b8-x{number:04}").into(),
            workload_kind: "Deployment".into(),
            workload: format!("web-{number}").into(),
        };
        let container = Container {
            id: format!("{number:064x}").into(),
            name: "app".into(),
            image: "registry.example/app:1.2.3".into(),
            pod: Some(Arc::new(pod)),
        };
        let subject = Identity { container: Some(Arc::new(container)), how: How::Cgroup, own: false };
        for operation in OPERATIONS.iter().take(OPERATIONS_OF_ONE) {
            let mut violation =
                Violation::new(Verdict::Denied, Class::File, Origin::Ebpf, operation.as_bytes());
            violation.profile = Some(b"cri-containerd.apparmor.d");
            let seen_by = SeenBy { ebpf: true, audit: true, log: false };
            metrics.observe(&Event { violation: &violation, seen_by, subject: &subject, peer: None });
        }
    }
}

async fn scrape(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{}", answer.lines().next().unwrap_or_default());
    Ok(answer)
}

fn count(scrape: &str) -> usize {
    let families = ["apparmor_events_total{", "apparmor_last_event_timestamp_seconds{"];
    scrape.lines().filter(|line| families.iter().any(|family| line.starts_with(family))).count()
}
