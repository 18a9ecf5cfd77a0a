//! The bill of materials in CycloneDX 1.5: the crates that are linked into the binary, and nothing that only
//! builds or tests it.

#![expect(clippy::indexing_slicing, reason = "a key that a JSON value lacks reads as null")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::place;
use crate::step::{self, Step};

const ROOT: &str = "aa-monitor";

/// Writes it and says how many crates there are.
pub(super) fn write(target: &str, path: &Path) -> Result<usize> {
    let step = Step { name: "cargo metadata", way_out: "`cargo fetch`, then repeat" };
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", target]);
    let text = step.run(command.current_dir(place::workspace()))?;
    let bill = bill(&serde_json::from_str(&text).context("reading cargo metadata")?)?;
    let crates = bill["components"].as_array().map_or(0, Vec::len);
    step::write(path, serde_json::to_string_pretty(&bill)? + "\n")?;
    Ok(crates)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// From what `cargo metadata` says of the whole workspace to what one binary consists of.
fn bill(metadata: &Value) -> Result<Value> {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let root = packages.iter().find(|(_, package)| package["name"] == ROOT);
    let root = *root.with_context(|| format!("the workspace has no package {ROOT}"))?.0;
    let mut linked = BTreeMap::new();
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        if linked.contains_key(id) {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("{id} is not resolved"))?;
        // A kind of null is a normal dependency; the others are `build` and `dev`.
        let normal =
            list(&node["deps"]).filter(|dep| list(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()));
        let needs: BTreeSet<&str> =
            normal.map(|dep| text(&dep["pkg"])).filter(|id| !macro_only(packages.get(id))).collect();
        waiting.extend(&needs);
        linked.insert(id, needs);
    }
    let reference = |id: &str| packages.get(id).map_or(String::new(), |package| purl(package));
    let component = |id: &str, kind: &str| {
        let package = packages.get(id)?;
        Some(json!({
            "type": kind,
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
            "licenses": [{ "expression": text(&package["license"]).replace('/', " OR ") }],
        }))
    };
    let components: Vec<_> =
        linked.keys().filter(|id| **id != root).filter_map(|id| component(id, "library")).collect();
    let dependencies: Vec<_> = linked
        .iter()
        .map(|(id, needs)| {
            let needs: Vec<_> = needs.iter().map(|id| reference(id)).collect();
            json!({ "ref": reference(id), "dependsOn": needs })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(root, "application") },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// Procedural macros run in the compiler and are not in the binary.
fn macro_only(package: Option<&&Value>) -> bool {
    package.is_some_and(|package| {
        list(&package["targets"]).any(|target| list(&target["kind"]).any(|kind| kind == "proc-macro"))
    })
}

fn purl(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::bill;

    fn package(id: &str, kind: &str) -> Value {
        json!({ "id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0", "targets": [{ "kind": [kind] }] })
    }

    fn needs(id: &str, kind: Option<&str>) -> Value {
        json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] })
    }

    #[test]
    fn only_what_is_linked_is_in_it() {
        let metadata = json!({
            "packages": [
                package("aa-monitor", "bin"), package("linked", "lib"), package("deep", "lib"),
                package("builds", "lib"), package("tests", "lib"), package("derives", "proc-macro"),
                package("stranger", "lib"),
            ],
            "resolve": { "nodes": [
                { "id": "aa-monitor", "deps": [
                    needs("linked", None), needs("builds", Some("build")), needs("tests", Some("dev")),
                    needs("derives", None),
                ] },
                { "id": "linked", "deps": [needs("deep", None)] },
                { "id": "deep", "deps": [] },
                { "id": "stranger", "deps": [] },
            ] },
        });
        let bill = bill(&metadata).unwrap();
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["deep", "linked"]);
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["metadata"]["component"]["purl"], "pkg:cargo/aa-monitor@1.0.0");
    }
}
