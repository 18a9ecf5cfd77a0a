//! `process_*`: what every Prometheus client tells of its own process.

use procfs::process::{LimitValue, Process, Stat};
use procfs::{ProcResult, WithCurrentSystemInfo};
use prometheus::proto::MetricFamily;

use super::{counters, gauges, names};

/// What can be read of /proc/self; a file that cannot be read leaves its metrics out.
pub(super) fn families() -> Vec<MetricFamily> {
    let Ok(process) = Process::myself() else { return Vec::new() };
    let mut families = Vec::new();
    if let Ok(count) = process.fd_count() {
        families.push(gauges(names::OPEN_FDS, [(vec![], count as f64)]));
    }
    if let Ok(limits) = process.limits() {
        let most = match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => f64::INFINITY,
        };
        families.push(gauges(names::MAX_FDS, [(vec![], most)]));
    }
    if let Ok(stat) = process.stat() {
        families.extend(of_stat(&stat).unwrap_or_default());
    }
    families
}

fn of_stat(stat: &Stat) -> ProcResult<Vec<MetricFamily>> {
    let ticks = procfs::ticks_per_second() as f64;
    let seconds = (stat.utime + stat.stime) as f64 / ticks;
    let started = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks;
    Ok(vec![
        counters(names::CPU, [(vec![], seconds)]),
        gauges(names::VIRTUAL_MEMORY, [(vec![], stat.vsize as f64)]),
        gauges(names::RESIDENT_MEMORY, [(vec![], stat.rss_bytes().get() as f64)]),
        gauges(names::THREADS, [(vec![], stat.num_threads as f64)]),
        gauges(names::START_TIME, [(vec![], started)]),
    ])
}
