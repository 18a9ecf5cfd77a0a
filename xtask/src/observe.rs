//! Rules and dashboards, judged by the programs that will read them. What they say is held against the agent's
//! metrics in `monitor/tests/sre`.

use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

use crate::place;
use crate::setup::{self, python};
use crate::step::Step;
use crate::vm::Tally;

/// Reads a dashboard into Grafana's own models and writes it again: what the models do not know is gone then.
const ROUND_TRIP: &str = r"
import json, sys
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard
plugins.register_default_plugins()
def compare(ours, theirs, path):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                compare(value, theirs[key], path + '.' + key)
            elif value not in (None, {}, [], '', False):
                sys.exit(f'{path}.{key} is not in the schema')
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs)):
            compare(*pair, f'{path}[{number}]')
    elif ours != theirs:
        sys.exit(f'{path}: {ours!r} is read as {theirs!r}')
for path in sys.argv[1:]:
    ours = json.load(open(path))
    theirs = dashboard.Dashboard.from_json(ours)
    compare(ours, json.loads(encoder.JSONEncoder().encode(theirs)), path)
";

/// The files of a folder below dashboards/ that end so, in order; never none.
pub(crate) fn files(folder: &str, end: &str) -> Result<Vec<PathBuf>> {
    let folder = place::workspace().join("dashboards").join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    ensure!(!files.is_empty(), "no {end} in {}", folder.display());
    Ok(files)
}

/// promtool's lints and the rules' own tests, all fatal; then each dashboard through Grafana's models.
pub(crate) fn check() -> Result<Tally> {
    let (rules, tests, dashboards) =
        (files("rules", ".yaml")?, files("tests", ".yaml")?, files("", ".json")?);
    let promtool = setup::promtool()?;
    let step = Step { name: "promtool check rules", way_out: "mend the rule that it names" };
    step.run(Command::new(&promtool).args(["check", "rules", "--lint=all", "--lint-fatal"]).args(&rules))?;
    let step =
        Step { name: "promtool test rules", way_out: "mend the rule, or its test in dashboards/tests" };
    step.run(Command::new(&promtool).args(["test", "rules"]).args(&tests))?;
    let step = Step { name: "Grafana's models", way_out: "mend the dashboard at the path that is named" };
    step.run(Command::new(python::program("python")?).args(["-c", ROUND_TRIP]).args(&dashboards))?;
    let cases = tests.iter().map(|path| Ok(fs::read_to_string(path)?.matches("\n  - name: ").count()));
    let cases = cases.sum::<Result<usize>>()?;
    Ok(Tally { passed: u32::try_from(rules.len() + cases + dashboards.len())?, failed: 0 })
}
