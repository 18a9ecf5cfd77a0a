//! Processes that have ended before anybody could look, under a profile of which one container lives, or two, or the
//! host, too. Where the kernel names no cgroup, only the first may be told by its profile.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use aa_monitor_tests::contract::Line;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{LAYOUTS, Want, Wants, path};
use crate::confined::{self, until_confined};
use crate::console::{Report, say};
use crate::oci;

/// Swarms, and the denials of each: enough to last longer than the agent's pause between two looks at the node.
const SWARMS: u64 = 20;
const SWARM: u64 = 25;
/// Containers that are made, denied something, and removed at once.
const DYING: u64 = 40;

/// A container with a process that does nothing.
struct Lives {
    folder: PathBuf,
    child: Child,
}

impl Lives {
    fn start(wants: &mut Wants, profile: &str) -> Result<(Self, String)> {
        let (id, pod, file) = wants.container(true, 0)?;
        let folder = oci::make(&path(LAYOUTS[0].2, &id, &pod))?;
        let child = oci::start_in(&folder, profile, &["pause", "3600"])?;
        until_confined(child.id(), profile)?;
        Ok((Self { folder, child }, file))
    }

    /// Processes of the container are denied this file, and end.
    fn swarm(&self, profile: &str, file: &str) -> Result<()> {
        (0..SWARMS).try_for_each(|_| oci::run_in(&self.folder, profile, &["swarm", &SWARM.to_string(), file]))
    }

    fn end(mut self) -> Result<()> {
        end(&mut self.child)?;
        oci::remove(&self.folder)
    }
}

fn end(child: &mut Child) -> Result<()> {
    child.kill().context("ending a process that pauses")?;
    child.wait().context("waiting for it").map(drop)
}

/// The file that says whose each event of [`alone`] is.
pub(super) struct Alone(String);

/// Plays it all. Nothing else may start containers meanwhile.
pub(super) fn play(report: &mut Report, wants: &mut Wants) -> Result<Alone> {
    confined::load("/etc/apparmor.d/alone.profiles")?;
    let file = alone(wants, "lab-alone")?;
    report.check("one of two containers under a profile is denied", pair(wants));
    report.check("the host is denied under a container's profile", host(wants));
    report.check("containers die beside one under the same profile", dying(wants));
    report.check("a container under a profile that attaches to programs is denied", attached(wants));
    Ok(Alone(file))
}

fn alone(wants: &mut Wants, profile: &str) -> Result<String> {
    let (one, file) = Lives::start(wants, profile)?;
    wants.expect(&file, SWARMS * SWARM)?;
    one.swarm(profile, &file)?;
    one.end()?;
    Ok(file)
}

fn attached(wants: &mut Wants) -> Result<()> {
    alone(wants, "lab-attached").map(drop)
}

fn pair(wants: &mut Wants) -> Result<()> {
    let profile = "lab-pair";
    let (one, file) = Lives::start(wants, profile)?;
    let (other, _) = Lives::start(wants, profile)?;
    wants.expect(&file, SWARMS * SWARM)?;
    one.swarm(profile, &file)?;
    one.end()?;
    other.end()
}

/// First beside a process of the host that stays, then without it: that it was there must be remembered.
fn host(wants: &mut Wants) -> Result<()> {
    let profile = "lab-host";
    let (container, _) = Lives::start(wants, profile)?;
    let mut stays = confined::command(profile, &["pause", "3600"].map(str::to_owned));
    let mut stays = stays.stdout(Stdio::null()).spawn().context("starting a process of the host")?;
    until_confined(stays.id(), profile)?;
    let file = "/lab/for/the-host".to_owned();
    std::fs::write(&file, "not for everyone\n").context("writing a file to be denied")?;
    wants.by_file.insert(file.clone(), Want { times: 2 * SWARMS * SWARM, ..Want::default() });
    let swarm = || {
        (0..SWARMS).try_for_each(|_| {
            confined::provoke(profile, &["swarm", &SWARM.to_string(), &file].map(str::to_owned)).map(drop)
        })
    };
    swarm()?;
    end(&mut stays)?;
    swarm()?;
    container.end()
}

fn dying(wants: &mut Wants) -> Result<()> {
    let profile = "lab-dies";
    let (stays, _) = Lives::start(wants, profile)?;
    for _ in 0..DYING {
        let (id, pod, file) = wants.container(true, 5)?;
        let folder = oci::make(&path(LAYOUTS[0].2, &id, &pod))?;
        oci::run_in(&folder, profile, &["swarm", "5", &file])?;
        oci::remove(&folder)?;
    }
    stays.end()
}

impl Alone {
    /// Without eBPF the profile told some of them, and no others.
    pub(super) fn judge(&self, events: &[Value], exact: bool) -> Result<()> {
        let by_profile = |event: &&Value| event["identified_by"] == "profile";
        let told = events.iter().filter(by_profile).count();
        let right = events.iter().filter(by_profile).filter(|event| event["name"] == *self.0).count();
        say(&Line::Summary(format!(
            "{right} of {} denials of processes that had ended are told by their profile",
            SWARMS * SWARM
        )));
        ensure!(told == right, "{told} are told by their profile, {right} of them of the one that is alone");
        if !exact {
            ensure!(right > 0, "none is told by its profile");
        }
        Ok(())
    }
}
