//! Scenario `records`: every act once, and what the kernel wrote about it.

use aa_monitor_tests::acts::{self, Act};
use aa_monitor_tests::contract::Line;
use anyhow::Result;

use crate::confined;
use crate::console::say;
use crate::kernel_log::KernelLog;
use crate::machine::Victim;

/// Performs each act and says the records it caused.
pub(crate) fn play() -> Result<()> {
    let victim = Victim::start()?;
    let mut log = KernelLog::open()?;
    log.records()?;
    for act in acts::all() {
        let Act { profile, provoke, .. } = act;
        let arguments = victim.arguments(provoke);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let end = confined::provoke(profile, &arguments)?;
        let said = String::from_utf8_lossy(&end.stdout).trim().replace('\n', ", ");
        say_record(&format!(
            "# {profile}: {} -> {said} ({})",
            provoke.join(" "),
            end.status
        ));
        std::thread::sleep(std::time::Duration::from_millis(100));
        for record in log.records()? {
            say_record(&record);
        }
    }
    Ok(())
}

fn say_record(text: &str) {
    say(&Line::File {
        name: "records.log".into(),
        text: text.to_owned(),
    });
}
