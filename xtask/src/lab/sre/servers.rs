//! Debian's Prometheus and Alertmanager on loopback, for as long as the suite needs them, and what they say.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aa_monitor_tests::scrape;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::lab::live::free_port;
use crate::step;
use crate::{observe, place, setup};

const START_LIMIT: Duration = Duration::from_secs(30);

/// Both servers; ended when dropped.
pub(super) struct Servers {
    prometheus: Server,
    alertmanager: Server,
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of this machine's loopback.
pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Servers {
    /// Starts both; Prometheus scrapes the agent behind `agent`, of this node, as the chart would have it.
    pub(super) fn start(agent: u16, node: &str) -> Result<Self> {
        let folder = place::lab().join("sre");
        let _ = fs::remove_dir_all(&folder);
        let alertmanager = alertmanager(&folder)?;
        let prometheus = prometheus(&folder, agent, node, alertmanager.address)?;
        Ok(Self { prometheus, alertmanager })
    }

    /// The result of an instant query.
    pub(super) fn now(&self, expression: &str) -> Result<Value> {
        Ok(self.query(&format!("/api/v1/query?query={}", encoded(expression)))?["result"].take())
    }

    /// The result of a query over a time, as a graph makes it: seconds since 1970, and between two points.
    pub(super) fn over(&self, expression: &str, from: u64, to: u64, step: u64) -> Result<Value> {
        let query = encoded(expression);
        let path = format!("/api/v1/query_range?query={query}&start={from}&end={to}&step={step}");
        Ok(self.query(&path)?["result"].take())
    }

    /// The result of an instant query is not empty.
    pub(super) fn has_data(&self, expression: &str) -> Result<bool> {
        some(&self.now(expression)?)
    }

    /// The same for a query over the last minute.
    pub(super) fn has_data_within_a_minute(&self, expression: &str) -> Result<bool> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        some(&self.over(expression, now - 60, now, 5)?)
    }

    /// The recorded rules' names, when Prometheus has evaluated every rule without an error.
    pub(super) fn rules_are_well(&self) -> Result<Vec<String>> {
        let answer = self.query("/api/v1/rules")?;
        let groups = answer["groups"].as_array().context("no groups")?;
        let rules: Vec<&Value> =
            groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
        ensure!(!rules.is_empty(), "Prometheus has no rules");
        for rule in &rules {
            ensure!(rule["health"] == "ok", "{}: {} {}", rule["name"], rule["health"], rule["lastError"]);
        }
        let recorded = rules.into_iter().filter(|rule| rule["type"] == "recording");
        Ok(recorded.filter_map(|rule| Some(rule["name"].as_str()?.to_owned())).collect())
    }

    /// The alerts that have arrived at Alertmanager.
    pub(super) fn firing(&self) -> Result<BTreeSet<String>> {
        let alerts = self.alertmanager.get("/api/v2/alerts?active=true")?;
        let alerts = alerts.as_array().context("no list of alerts")?;
        Ok(alerts
            .iter()
            .filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.to_owned()))
            .collect())
    }

    fn query(&self, path: &str) -> Result<Value> {
        let mut answer = self.prometheus.get(path)?;
        ensure!(answer["status"] == "success", "{}", answer["error"]);
        Ok(answer["data"].take())
    }
}

fn some(result: &Value) -> Result<bool> {
    Ok(!result.as_array().context("no list of results")?.is_empty())
}

impl Server {
    /// Starts a program, and waits until it says that it is ready.
    fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let file = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let mut server = Self { child, address: local(port) };
        let start = Instant::now();
        while !scrape::get(server.address, "/-/ready").is_ok_and(|(status, _)| status == 200) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended: {status}; see {}", log.display());
            }
            ensure!(start.elapsed() < START_LIMIT, "{name} is not ready; see {}", log.display());
            thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = scrape::get(self.address, path)?;
        serde_json::from_str(&body)
            .with_context(|| format!("http://{}{path} answers {status}: {body}", self.address))
    }
}

fn alertmanager(folder: &Path) -> Result<Server> {
    let config = folder.join("alertmanager.yml");
    step::write(&config, "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n")?;
    let port = free_port()?;
    let program = setup::alertmanager()?;
    let share =
        program.ancestors().nth(2).map(|usr| usr.join("share")).context("usr/share of Alertmanager")?;
    // Debian's reads its templates from /usr/share, wherever it is unpacked: give it one of its own.
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /usr/share && exec \"$@\""]);
    command
        .arg(share)
        .arg(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    Server::start(command, port, &folder.join("alertmanager.log"))
}

fn prometheus(folder: &Path, agent: u16, node: &str, alertmanager: SocketAddr) -> Result<Server> {
    for rules in observe::files("rules", ".yaml")? {
        let text = fs::read_to_string(&rules).with_context(|| format!("reading {}", rules.display()))?;
        step::write(&folder.join("rules").join(rules.file_name().unwrap_or_default()), hasty(&text))?;
    }
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}/rules/*.yaml']\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n\
         scrape_configs:\n\
         - job_name: aa-monitor\n  \
           honor_labels: true\n  \
           static_configs: [{{targets: ['127.0.0.1:{agent}'], labels: {{node: {node}}}}}]\n",
        folder.display()
    );
    step::write(&folder.join("prometheus.yml"), config)?;
    let port = free_port()?;
    let mut command = Command::new(setup::prometheus()?);
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Server::start(command, port, &folder.join("prometheus.log"))
}

/// Rules that do not wait: what must hold for minutes is a matter of promtool's tests.
fn hasty(rules: &str) -> String {
    let line = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 2s\n"),
        _ => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

/// As a value in a URL's query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut url, byte| {
        if byte.is_ascii_alphanumeric() {
            url.push(byte.into());
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}

#[cfg(test)]
mod tests {
    use super::{encoded, hasty};

    #[test]
    fn only_the_wait_of_a_rule_is_shortened() {
        let rules = "      - alert: A\n        expr: x # for: 5m\n        for: 10m\n";
        assert_eq!(hasty(rules), "      - alert: A\n        expr: x # for: 5m\n        for: 2s\n");
    }

    #[test]
    fn an_expression_survives_a_url() {
        assert_eq!(encoded("a{b=\"c\"} > 0"), "a%7Bb%3D%22c%22%7D%20%3E%200");
    }
}
