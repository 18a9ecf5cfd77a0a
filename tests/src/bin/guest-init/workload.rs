//! Scenario `workload`: confined programs that violate their profiles every few seconds, and the agent's
//! live table on the console, until the host ends the machine.

use std::process::Command;
use std::thread;
use std::time::Duration;

use aa_monitor_tests::acts;
use aa_monitor_tests::contract::Line;
use anyhow::Result;

use crate::agent::Agent;
use crate::confined;
use crate::console::say;
use crate::machine::supported;
use crate::victim::Victim;

const PAUSE: Duration = Duration::from_millis(1500);

/// Plays the scenario; `columns` is the width of the reader's terminal, if it is one. Returns when the agent
/// ends.
pub(crate) fn play(columns: Option<&str>) -> Result<()> {
    if let Some(columns) = columns {
        // A serial line knows no width. Without one the table is merely wider.
        let _ = Command::new("/bin/busybox").args(["stty", "-F", "/dev/console", "cols", columns]).status();
    }
    let victim = Victim::start()?;
    let mut agent = Agent::start_live(columns.is_some())?;
    agent.wait_ready()?;
    agent.wait_sources([true, true])?;
    say(&Line::Ready("/metrics".into()));
    for act in acts::lasting().iter().filter(|act| supported(act)).cycle() {
        agent.still_runs()?;
        confined::provoke(act.profile, &victim.arguments(act))?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
