//! `cargo xtask deploy`: the chart, rendered by Helm into the kustomize base, and what Kubernetes says of both.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::place;
use crate::setup::python;
use crate::step::{self, Step};
use crate::vm::Tally;

/// Renders the chart into deploy/kustomize and checks both.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Writes what the chart renders to into deploy/kustomize.
    #[arg(long)]
    write: bool,
}

/// The version of Kubernetes that the kustomize base is rendered for.
const USUAL: &str = "1.34.0";
/// The oldest that the chart admits, the last without the AppArmor field, the first with it, the newest.
const VERSIONS: [&str; 5] = ["1.25", "1.29", "1.30", "1.34", "1.37"];

/// Switches on all that the Prometheus Operator and Grafana's sidecar read.
const MONITORING: &str = "podMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true";

/// Values that change most of what a value can change.
const EVERYTHING: &str = r#"
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [{name: pull}]
fullnameOverride: watcher
config: {series-limit: 1000000, output: json, log-level: debug}
port: 9999
audit: {enabled: true}
pin: {enabled: false}
state: {hostPath: ""}
nodeLabels: {enabled: true, pattern: "k8s-*"}
serviceAccount: {name: other, annotations: {a: b}}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
podAnnotations: {a: b}
podLabels: {c: d}
extraArgs: [--log-level=debug]
extraEnv: [{name: A, value: b}]
extraVolumes: [{name: more, emptyDir: {}}]
extraVolumeMounts: [{name: more, mountPath: /more}]
extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-more"}}]
"#;

/// Values that must be refused, with a word of the reason.
const REFUSED: [(&str, &str); 6] = [
    ("nodeLabels.enabled=true", "pattern"),
    ("imge.tag=x", "imge"),
    ("image.digest=latest", "digest"),
    ("port=http", "port"),
    ("audit.enable=true", "enable"),
    ("prometheusRule.runbookUrl=docs", "runbookUrl"),
];

/// What the chart must render to with these values, one fragment each, and what must not be in it.
const RENDERED: [(&str, &[&str], &[&str]); 7] = [
    (
        "",
        &[
            "- BPF\n",
            "hostPID: true\n",
            "type: Unconfined\n",
            "resources: [pods]\n    verbs: [list, watch]\n",
            "resources: [events]\n    verbs: [create, patch]\n",
        ],
        &["hostNetwork", "AUDIT_READ", "nodes", "privileged: true", "SYS_ADMIN"],
    ),
    (
        "config.pod-source=kubelet",
        &["resources: [nodes/pods]\n    verbs: [get]\n", "resources: [events]\n"],
        &["resources: [pods]"],
    ),
    ("config.pod-source=none", &["resources: [events]\n"], &["resources: [pods]", "nodes"]),
    ("config.kube-events=off", &["resources: [pods]\n"], &["resources: [events]"]),
    (
        "audit.enabled=true",
        &["hostNetwork: true\n", "- AUDIT_READ\n", "value: auto\n"],
        &["privileged: true"],
    ),
    (
        "nodeLabels.enabled=true,nodeLabels.pattern=k8s-*",
        &[
            "resources: [nodes]\n    verbs: [patch]\n",
            "name: AA_MONITOR_NODE_LABELS\n              value: \"k8s-*\"\n",
        ],
        &[],
    ),
    (
        "config.series-limit=1000000",
        &["name: AA_MONITOR_SERIES_LIMIT\n              value: \"1000000\"\n"],
        &[],
    ),
];

fn folder(name: &str) -> PathBuf {
    place::workspace().join("deploy").join(name)
}

/// What is generated: a file of deploy/kustomize, and the flags that render it.
fn generated() -> [(PathBuf, Vec<&'static str>); 2] {
    let monitoring = vec!["--show-only", "templates/monitoring.yaml", "--set", MONITORING];
    [
        (folder("kustomize/base/aa-monitor.yaml"), vec![]),
        (folder("kustomize/monitoring/monitoring.yaml"), monitoring),
    ]
}

fn helm(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(python::program("helm")?);
    command.args(arguments).current_dir(folder("helm"));
    // Nothing of the user's own set-up has a say.
    let home = place::tools().join("helm");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, &home);
    }
    command.env_remove("KUBECONFIG");
    Ok(command)
}

const HELM: Step<'_> = Step { name: "helm", way_out: "mend the template or the value that it names" };

fn render(version: &str, flags: &[&str]) -> Result<String> {
    let base =
        ["template", "aa-monitor", "aa-monitor", "--namespace", "aa-monitor", "--kube-version", version];
    HELM.run(helm(&base)?.args(flags))
}

/// Does what the arguments ask for; true when all is well.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.write {
        for (path, flags) in generated() {
            step::write(&path, render(USUAL, &flags)?)?;
            println!("wrote {}", path.display());
        }
    }
    let Tally { passed, failed } = check()?;
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Everything that must hold of chart and base.
pub(crate) fn check() -> Result<Tally> {
    let mut passed = 0;
    HELM.run(helm(&["lint", "--strict", "--quiet", "aa-monitor"])?.args(["--set", MONITORING]))?;
    for (path, flags) in generated() {
        let written = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let way_out = "cargo xtask deploy --write";
        ensure!(written == render(USUAL, &flags)?, "{} is stale; way out: {way_out}", path.display());
        passed += 1;
    }
    for (values, want, not) in RENDERED {
        let text = render(USUAL, &["--set", values])?;
        for fragment in want {
            ensure!(text.contains(fragment), "with {values:?} there is no {fragment:?}");
        }
        for fragment in not {
            ensure!(!text.contains(fragment), "with {values:?} there is {fragment:?}");
        }
        passed += 1;
    }
    for (values, why) in REFUSED {
        let end = HELM.finish(
            helm(&["template", "aa-monitor", "aa-monitor", "--set", values])?.args(["--kube-version", USUAL]),
        )?;
        ensure!(
            !end.success && end.stderr.contains(why),
            "{values} is not refused for {why}: {}",
            end.stderr
        );
        passed += 1;
    }
    Ok(Tally { passed: passed + validate()?, failed: 0 })
}

/// The base and the chart with every value, against the schemas of several versions; the kustomize overlays
/// must build.
fn validate() -> Result<u32> {
    let all = place::tools().join("helm/everything.yaml");
    step::write(&all, EVERYTHING)?;
    let all = all.to_string_lossy().into_owned();
    let rendered = place::tools().join("helm/rendered.yaml");
    let mut passed = 0;
    for version in VERSIONS {
        let full = format!("{version}.0");
        for flags in [vec![], vec!["--values", &all]] {
            validated(&rendered, &render(&full, &flags)?, version)?;
            passed += 1;
        }
    }
    // A schema that knows the field from one that does not: the validator does refuse.
    let newer = validated(&rendered, &render("1.30.0", &[])?, "1.29");
    ensure!(newer.is_err(), "the schema of 1.29 accepts appArmorProfile, so it checks nothing");
    // From 1.29 on, where flowcontrol v1 is.
    validated(&rendered, &render(USUAL, &["--set", "flowSchema.enabled=true"])?, "1.34")?;
    for overlay in ["kustomize", "kustomize/monitoring"] {
        let step = Step { name: "kubectl kustomize", way_out: "mend the kustomization that it names" };
        let built =
            step.run(Command::new(python::program("kubectl")?).arg("kustomize").arg(folder(overlay)))?;
        validated(&rendered, &built, "1.34")?;
        passed += 1;
    }
    Ok(passed + 2)
}

fn validated(path: &std::path::Path, text: &str, version: &str) -> Result<()> {
    // The Prometheus Operator's kinds are not Kubernetes' own.
    let own: Vec<_> =
        text.split("\n---\n").filter(|document| !document.contains("monitoring.coreos.com/")).collect();
    step::write(path, own.join("\n---\n"))?;
    let name = format!("kubernetes-validate against {version}");
    let step = Step { name: &name, way_out: "mend the field that it names" };
    let mut command = Command::new(python::program("kubernetes-validate")?);
    step.run(command.args(["--strict", "--quiet", "--no-warn", "-k", version]).arg(path))?;
    Ok(())
}
