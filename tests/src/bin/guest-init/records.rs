//! Scenario `records`: every act, and what the kernel wrote about it. It shows that the fixed list of
//! violations is the kernel's own, without the agent having a say.

use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::{self, Act};
use anyhow::{Result, ensure};

use crate::agent::keep;
use crate::confined;
use crate::console::Report;
use crate::kernel_log::KernelLog;
use crate::machine::supported;
use crate::victim::Victim;

/// How long a record may take to reach the kernel log.
const LIMIT: Duration = Duration::from_secs(2);

/// Performs each act and compares the records it caused with those it promises.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let victim = Victim::start()?;
    let mut log = KernelLog::open()?;
    log.records()?;
    let mut surprises = Vec::new();
    for act in acts::all().iter().filter(|act| supported(act)) {
        let arguments = victim.arguments(act);
        confined::provoke(act.profile, &arguments)?;
        let want = promised(act);
        let got = await_records(&mut log, want.len())?;
        let title = format!("{}: {}", act.profile, arguments.join(" "));
        keep("records.log", &format!("# {title}\n{}", got.join("\n")));
        let same = want.len() == got.len() && want.iter().zip(&got).all(|(want, got)| got.contains(want));
        if !same {
            surprises.push(format!("{title}: want {want:?}, got {got:?}"));
        }
    }
    let result = (|| {
        ensure!(surprises.is_empty(), "{}", surprises.join("; "));
        Ok(())
    })();
    report.check("the kernel reports each act as promised", result);
    Ok(())
}

/// What each record begins with, in order.
fn promised(act: &Act) -> Vec<String> {
    let word = match act.verdict {
        "killed" => "KILLED",
        "denied" => "DENIED",
        "allowed" => "ALLOWED",
        _ => "AUDIT",
    };
    let once =
        act.records.iter().map(|(_, operation)| format!("apparmor=\"{word}\" operation=\"{operation}\""));
    (0..act.times).flat_map(|_| once.clone()).collect()
}

/// Waits for so many records. One too many is found by the next act.
fn await_records(log: &mut KernelLog, wanted: usize) -> Result<Vec<String>> {
    let start = Instant::now();
    let mut records = log.records()?;
    while records.len() < wanted && start.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(5));
        records.append(&mut log.records()?);
    }
    Ok(records)
}
