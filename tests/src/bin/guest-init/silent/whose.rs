//! Whose a silent denial was; and that there is room for those of ever new cgroups.

use aa_monitor_tests::scrape::{Sample, sum};
use anyhow::{Result, ensure};

use super::{ENFORCE, LOST, SILENT, counted, equal};
use crate::agent::{self, Agent};
use crate::confined;
use crate::console::Report;
use crate::oci;

const POD: &str = "0fbc5e4a-2a4b-4c5d-9e6f-7a8b9c0d1e2f";
const WRITER: &str = "4f1c9b6a7d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e";
const VICTIM: &str = "a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeeff";
const WRITES: u32 = 4;
const SIGNALS: u32 = 3;

/// More cgroups in all than the kernel's map has room for.
const ROUNDS: u64 = 5;
const CGROUPS: u64 = 900;

/// Checks it, `events` having been counted.
pub(super) fn check(report: &mut Report, agent: &mut Agent, events: u64) -> Result<()> {
    let (_, samples) = agent::metrics()?;
    let before = sum(&samples, SILENT, &[]);
    let path = |id| format!("/kubepods/burstable/pod{POD}/{id}");

    // A container that is gone when its denials are read.
    let folder = oci::make(&path(WRITER))?;
    let times = WRITES.to_string();
    oci::start_in(&folder, ENFORCE, &["--times", &times, "write", "/lab/secret"])?.wait()?;
    oci::remove(&folder)?;
    // One that the host signals: nobody can end it, and it ends with the machine.
    let folder = oci::make(&path(VICTIM))?;
    let victim = oci::start_in(&folder, ENFORCE, &["wait"])?.id();
    confined::until_confined(victim, ENFORCE)?;
    let signal = ["--times", &SIGNALS.to_string(), "signal", &victim.to_string()].map(str::to_owned);
    let end = confined::provoke("unconfined", &signal)?;
    ensure!(end.status.code() == Some(1), "the signal was not refused: {}", end.status);
    let wanted = before + u64::from(WRITES) + u64::from(SIGNALS);
    let (_, samples) = counted(agent, events, wanted)?;
    report.check("a container's are its own, also when it is gone", of(&samples, WRITER, "file", WRITES));
    report.check("a signal's are its victim's", of(&samples, VICTIM, "signal", SIGNALS));
    report.check("nothing else is silent", equal(wanted, sum(&samples, SILENT, &[])));

    let mut wanted = wanted;
    for round in 0..ROUNDS {
        let folder = format!("/roam{round}");
        let root = oci::make(&folder)?;
        for number in 0..CGROUPS {
            oci::make(&format!("{folder}/{number}"))?;
        }
        let roam = ["roam".to_owned(), root.display().to_string(), "/lab/secret".to_owned()];
        let end = confined::provoke(ENFORCE, &roam)?;
        ensure!(end.status.code() == Some(1), "{}: {}", end.status, String::from_utf8_lossy(&end.stdout));
        wanted += CGROUPS;
        counted(agent, events, wanted)?;
        for number in 0..CGROUPS {
            oci::remove(&root.join(number.to_string()))?;
        }
    }
    let (_, samples) = counted(agent, events, wanted)?;
    report.check(
        "those of more cgroups than there is room for are counted, each once",
        equal(wanted, sum(&samples, SILENT, &[])),
    );
    report.check("and none finds the room full", equal(0, sum(&samples, LOST, &[("stage", "silent")])));
    Ok(())
}

/// Whether a container's series says so many.
fn of(samples: &[Sample], id: &str, class: &str, times: u32) -> Result<()> {
    let container = id.get(..12).unwrap_or(id);
    let labels = [("container", container), ("pod", POD), ("profile", ENFORCE), ("class", class)];
    equal(times.into(), sum(samples, SILENT, &labels))?;
    equal(times.into(), sum(samples, SILENT, &[("container", container)]))
}
