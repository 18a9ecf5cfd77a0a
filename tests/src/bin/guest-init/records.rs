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

/// Profiles that nobody uses.
pub(crate) const LATE: &str = "/etc/apparmor.d/late.profiles";

/// How long a record may take to reach the kernel log.
const LIMIT: Duration = Duration::from_secs(2);

/// Performs each act and compares the records it caused with those it promises.
pub(crate) fn play(report: &mut Report) -> Result<()> {
    let victim = Victim::start()?;
    let mut witness = Witness { log: KernelLog::open()?, surprises: Vec::new() };
    witness.log.records()?;
    for (how, operation) in acts::POLICY {
        confined::change_policy(how, LATE)?;
        witness.expect(&format!("policy: {how}"), &[beginning("STATUS", operation)])?;
    }
    for act in acts::all().iter().filter(|act| supported(act)) {
        let arguments = victim.arguments(act);
        let end = confined::provoke(act.profile, &arguments)?;
        let said = String::from_utf8_lossy(&end.stdout).trim().replace('\n', ", ");
        witness.expect(&format!("{}: {}: {said}", act.profile, arguments.join(" ")), &promised(act))?;
    }
    let result = (|| {
        ensure!(witness.surprises.is_empty(), "{}", witness.surprises.join("; "));
        Ok(())
    })();
    report.check("the kernel reports each act as promised", result);
    Ok(())
}

/// Holds the kernel log against what was promised.
struct Witness {
    log: KernelLog,
    surprises: Vec<String>,
}

impl Witness {
    fn expect(&mut self, title: &str, want: &[String]) -> Result<()> {
        let got = await_records(&mut self.log, want.len())?;
        keep("records.log", &format!("# {title}\n{}", got.join("\n")));
        let same = want.len() == got.len() && want.iter().zip(&got).all(|(want, got)| got.contains(want));
        if !same {
            self.surprises.push(format!("{title}: want {want:?}, got {got:?}"));
        }
        Ok(())
    }
}

/// What each record begins with, in order.
fn promised(act: &Act) -> Vec<String> {
    let word = match act.verdict {
        "killed" => "KILLED",
        "denied" => "DENIED",
        "allowed" => "ALLOWED",
        _ => "AUDIT",
    };
    let once = act.records.iter().map(|(_, operation)| beginning(word, operation));
    (0..act.times).flat_map(|_| once.clone()).collect()
}

fn beginning(word: &str, operation: &str) -> String {
    format!("apparmor=\"{word}\" operation=\"{operation}\"")
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
