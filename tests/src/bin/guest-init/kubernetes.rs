//! Scenario `kubernetes`: containers that run as their pods asked, and others that do not, beside an API server.
//! The agent has the chart's capabilities and no others. Its metrics and Events are exactly the expected ones, and
//! looking raises no AppArmor record.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use aa_monitor_tests::acts::ENFORCE;
use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{ApiServer, Resource};
use aa_monitor_tests::scrape::Sample;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::agent::{self, Agent, Chart, keep};
use crate::bundle::Bundle;
use crate::confined;
use crate::console::Report;
use crate::containers::runc;
use crate::kernel_log::KernelLog;
use crate::oci;

const NODE: &str = "lab";
/// How long the agent may take to find out, on an emulated machine.
const LIMIT: Duration = Duration::from_secs(40);
const END_LIMIT: Duration = Duration::from_secs(20);

/// The families that the scenario is about, whole.
const FAMILIES: [&str; 5] = [
    "apparmor_container_confinement_info",
    "apparmor_container_profile_mismatch",
    "apparmor_pod_profile_missing",
    "apparmor_container_profile_invalid",
    "apparmor_container_profile_not_allowed",
];

/// A pod with one container.
#[derive(Clone, Copy)]
struct Case {
    /// The pod's name and its container's.
    name: &'static str,
    /// What it asks for: the container's field, as `type` or `type name`; or the older annotation.
    asks: Asks,
    /// The profile that it runs under, `unconfined` without one; none when it does not run.
    runs: Option<&'static str>,
    /// The series about it once it runs, as `family requested/profile/mode` or `family profile`.
    series: &'static [&'static str],
    /// The Events about it.
    events: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Asks {
    Field(&'static str),
    Annotation(&'static str),
    Nothing,
}

const CASES: [Case; 10] = [
    Case {
        name: "as-asked",
        asks: Asks::Field("Localhost k8s-web"),
        runs: Some("k8s-web"),
        series: &["confinement_info localhost/k8s-web k8s-web enforce"],
        events: &[],
    },
    Case {
        name: "another",
        asks: Asks::Field("Localhost k8s-web"),
        runs: Some("k8s-other"),
        series: &["confinement_info localhost/k8s-web k8s-other enforce", "profile_mismatch k8s-web"],
        events: &["AppArmorProfileMismatch"],
    },
    Case {
        name: "unconfined",
        asks: Asks::Field("Localhost k8s-web"),
        runs: Some("unconfined"),
        series: &["confinement_info localhost/k8s-web unconfined unconfined", "profile_mismatch k8s-web"],
        events: &["AppArmorProfileMismatch"],
    },
    Case {
        name: "complain",
        asks: Asks::Annotation("localhost/k8s-learn"),
        runs: Some("k8s-learn"),
        series: &["confinement_info localhost/k8s-learn k8s-learn complain"],
        events: &[],
    },
    Case {
        name: "default",
        asks: Asks::Field("RuntimeDefault"),
        runs: Some("cri-containerd.apparmor.d"),
        series: &["confinement_info runtime/default cri-containerd.apparmor.d enforce"],
        events: &[],
    },
    Case {
        name: "free",
        asks: Asks::Field("Unconfined"),
        runs: Some("unconfined"),
        series: &["confinement_info unconfined unconfined unconfined"],
        events: &[],
    },
    Case {
        name: "nothing",
        asks: Asks::Nothing,
        runs: Some("unconfined"),
        series: &["confinement_info none unconfined unconfined"],
        events: &[],
    },
    Case {
        name: "gone",
        asks: Asks::Field("Localhost k8s-gone"),
        runs: Some("k8s-gone"),
        series: &["confinement_info localhost/k8s-gone k8s-gone enforce"],
        events: &[],
    },
    Case {
        name: "missing",
        asks: Asks::Field("Localhost k8s-late"),
        runs: None,
        series: &["profile_missing k8s-late"],
        events: &["AppArmorProfileMissing"],
    },
    Case {
        name: "invalid",
        asks: Asks::Annotation("localhost/"),
        runs: None,
        series: &["profile_invalid "],
        events: &["AppArmorProfileInvalid"],
    },
];

/// Plays the scenario.
pub(crate) fn play(report: &mut Report, chart: Chart) -> Result<()> {
    for profiles in ["k8s.profiles", "k8s-gone.profiles"] {
        confined::load(&format!("/etc/apparmor.d/{profiles}"))?;
    }
    for case in &CASES {
        if let Some(profile) = case.runs {
            run(case, profile).with_context(|| format!("running container {}", case.name))?;
        }
    }
    let server = ApiServer::start()?;
    for case in &CASES {
        server.apply(&Resource::PODS, pod(case));
    }
    let strict = Case { name: "strict", runs: None, series: &[], events: &[], ..CASES[0] };
    server.apply(&Resource::PODS, pod(&strict));

    let mut log = KernelLog::open()?;
    log.records()?;
    let green = agent::check_in_cluster(chart, &server.kubeconfig(None), NODE);
    report.check("check is green with the chart's capabilities", green);
    let allowed = ["--allowed-profiles", "strict=runtime/default"];
    let mut agent = Agent::start_in_cluster(chart, &server.kubeconfig(None), NODE, &allowed)?;
    agent.wait_ready()?;
    agent.wait_sources(chart.sources())?;
    report.check("the agent has the chart's capabilities and no others", agent.check_capabilities(chart));
    let green = agent::check_in_cluster(chart, &server.kubeconfig(None), NODE);
    report.check("check is green beside it", green);
    if chart == Chart::Default {
        let told = agent::check_misses_audit(&server.kubeconfig(None), NODE);
        report.check("check says what CAP_AUDIT_READ would give", told);
    }

    let mut series: BTreeSet<String> = CASES.iter().flat_map(series_of).collect();
    let mut events: BTreeSet<String> = CASES.iter().flat_map(events_of).collect();
    series.insert("profile_not_allowed strict k8s-web".to_owned());
    events.insert("AppArmorProfileNotAllowed strict".to_owned());
    report.check("metrics tell what each container asked for and has", until_series(&series));
    report.check("each finding has its Event, and nothing else has", until_events(&server, &events));
    report.check("status tells it too", status());

    let words = "failed to apply apparmor profile: apparmor failed to apply profile: no such file";
    let waiting = json!({ "waiting": { "reason": "CreateContainerError", "message": words } });
    let missing = CASES.iter().find(|case| case.name == "missing").context("the case")?;
    server.apply(
        &Resource::PODS,
        Pod::from(pod(missing)).with_field("/status/containerStatuses/0/state", waiting).json(),
    );
    report.check("what the runtime says about it is an Event of its own", until_said(&server, words));

    // From here on policy changes under the agent; nothing tells it but the kernel.
    parser("--remove", "k8s-gone.profiles")?;
    parser("--add", "k8s-late.profiles")?;
    // The kubelet tries again; until then the runtime's last word stands.
    server.apply(&Resource::PODS, pod(missing));
    for line in
        ["confinement_info gone localhost/k8s-gone k8s-gone enforce", "profile_missing missing k8s-late"]
    {
        ensure!(series.remove(line), "{line} is not expected");
    }
    for line in [
        "confinement_info gone localhost/k8s-gone unconfined unconfined",
        "profile_mismatch gone k8s-gone",
        "profile_missing gone k8s-gone",
    ] {
        series.insert(line.to_owned());
    }
    report.check("a profile that is unloaded or loaded is noticed", until_series(&series));
    for event in ["AppArmorProfileMissing gone", "AppArmorProfileMismatch gone"] {
        events.insert(event.to_owned());
    }
    report.check("and told", until_events(&server, &events));
    report.check("the inventory is the kernel's", inventory());

    let records = log.records()?;
    let raised: Vec<_> = records.iter().filter(|record| !record.contains("apparmor=\"STATUS\"")).collect();
    report.check("looking raised no record", none(&raised));
    keep("metrics.prom", &agent::metrics()?.0);
    let refused: Vec<_> = server.requests().into_iter().filter(|request| request.status >= 400).collect();
    report.check("the API server refused nothing", none(&refused));
    report.check(
        "an agent with no more takes over what the one before has pinned",
        adopted(&server, agent, chart),
    );
    for event in server.all(&Resource::EVENTS) {
        keep("events.json", &event.to_string());
    }
    Agent::say_log();
    Ok(())
}

/// The agent is killed; while there is none, a container is denied something; the next agent tells it.
fn adopted(server: &ApiServer, mut agent: Agent, chart: Chart) -> Result<()> {
    const DENIALS: &str = "3";
    agent.kill()?;
    let case = CASES.first().context("a case")?;
    let folder = oci::cgroups().join(cgroup(case).trim_start_matches('/'));
    oci::run_in(&folder, ENFORCE, &["--times", DENIALS, "open", "/lab/secret"])?;
    let mut next = Agent::start_in_cluster(chart, &server.kubeconfig(None), NODE, &[])?;
    next.wait_ready()?;
    next.wait_sources(chart.sources())?;
    next.check_capabilities(chart)?;
    Agent::has_said(&["eBPF programs", "adopted=true"])?;
    until(|| {
        let (_, samples) = agent::metrics()?;
        let labels = [("profile", ENFORCE), ("pod", case.name), ("container", case.name)];
        let told = aa_monitor_tests::scrape::sum(&samples, "apparmor_events_total", &labels);
        ensure!(told.to_string() == DENIALS, "want {DENIALS} events of the container, got {told}");
        Ok(())
    })?;
    let (status, _) = next.terminate(END_LIMIT)?;
    ensure!(status.success(), "the agent ended: {status}");
    Ok(())
}

fn none<T: std::fmt::Debug>(found: &[T]) -> Result<()> {
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

/// The container's id: the case's name in letters of an id.
fn id(case: &Case) -> String {
    let digits: String = case.name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<64}")
}

fn uid(case: &Case) -> String {
    format!("0fbc5e4a-2a4b-4c5d-9e6f-{}", id(case).get(..12).unwrap_or_default())
}

fn pod(case: &Case) -> Value {
    let namespace = if case.name == "strict" { "strict" } else { "shop" };
    let id = case.runs.map(|_| id(case)).unwrap_or_default();
    let mut pod = Pod::new(namespace, case.name, &uid(case)).on(NODE).container(case.name, &id);
    if let Asks::Annotation(value) = case.asks {
        pod = pod.annotation(&format!("container.apparmor.security.beta.kubernetes.io/{}", case.name), value);
    }
    let mut object = pod.json();
    if let Asks::Field(text) = case.asks {
        let (kind, name) = text.split_once(' ').map_or((text, None), |(kind, name)| (kind, Some(name)));
        let profile = match name {
            Some(name) => json!({ "type": kind, "localhostProfile": name }),
            None => json!({ "type": kind }),
        };
        if let Some(container) = object.pointer_mut("/spec/containers/0").and_then(Value::as_object_mut) {
            container.insert("securityContext".to_owned(), json!({ "appArmorProfile": profile }));
        }
    }
    object
}

fn cgroup(case: &Case) -> String {
    format!("/kubepods/burstable/pod{}/{}", uid(case), id(case))
}

/// Starts the case's container under a profile, in the cgroup that a kubelet would give it.
fn run(case: &Case, profile: &str) -> Result<()> {
    let folder = PathBuf::from("/tmp/pods").join(case.name);
    Bundle { cgroup: &cgroup(case), profile, arguments: &["wait"], secret: None }.write(&folder)?;
    runc(&["run", "--detach", "--bundle", &folder.to_string_lossy(), case.name]).map(drop)
}

fn series_of(case: &Case) -> impl Iterator<Item = String> {
    case.series.iter().map(|series| {
        let (family, rest) = series.split_once(' ').unwrap_or((series, ""));
        format!("{family} {} {rest}", case.name)
    })
}

fn events_of(case: &Case) -> impl Iterator<Item = String> {
    case.events.iter().map(|reason| format!("{reason} {}", case.name))
}

/// A series of one of the families in the words of the cases.
fn in_words(sample: &Sample) -> Option<String> {
    FAMILIES.contains(&&*sample.name).then_some(())?;
    let family = sample
        .name
        .trim_start_matches("apparmor_")
        .trim_start_matches("container_")
        .trim_start_matches("pod_");
    let labels = ["container", "requested", "profile", "mode"];
    let known = labels.into_iter().filter(|label| sample.labels.contains_key(*label));
    let words: Vec<_> = known.map(|label| sample.label(label)).collect();
    Some(format!("{family} {}", words.join(" ")))
}

fn until_series(want: &BTreeSet<String>) -> Result<()> {
    until_exactly(want, || Ok(agent::metrics()?.1.iter().filter_map(in_words).collect()))
}

fn until_events(server: &ApiServer, want: &BTreeSet<String>) -> Result<()> {
    until_exactly(want, || {
        let events = server.all(&Resource::EVENTS);
        let text = |event: &Value, pointer: &str| {
            event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let known = |event: &Value| CASES.iter().any(|case| uid(case) == text(event, "/regarding/uid"));
        ensure!(
            events.iter().all(|event| known(event) || text(event, "/regarding/namespace") == "strict"),
            "an Event about no pod: {events:?}"
        );
        Ok(events
            .iter()
            .map(|event| format!("{} {}", text(event, "/reason"), text(event, "/regarding/name")))
            .collect())
    })
}

/// Looks again and again until all is as it shall be; when that takes too long, what is not.
fn until(mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        match look() {
            Err(_) if start.elapsed() < LIMIT => thread::sleep(Duration::from_millis(200)),
            done => return done,
        }
    }
}

/// Holds the containers of `aa-monitor status` against the cases: pod, container, what was asked for, what is applied,
/// and its mode.
fn status() -> Result<()> {
    let answer = Command::new("/bin/aa-monitor").arg("status").output().context("starting aa-monitor")?;
    let text = String::from_utf8(answer.stdout).context("the status is no text")?;
    keep("status.txt", &text);
    ensure!(answer.status.success(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.stderr).trim());
    let row = |line: &str| line.split_whitespace().take(5).map(str::to_owned).collect::<Vec<_>>().join(" ");
    let got: BTreeSet<String> =
        text.lines().skip_while(|line| !line.starts_with("POD ")).skip(1).map(row).collect();
    let of_case = |case: &Case| {
        let facts = case.series.iter().find_map(|series| series.strip_prefix("confinement_info "))?;
        Some(format!("shop/{0} {0} {facts}", case.name))
    };
    let waiting = [
        "shop/missing missing localhost/k8s-late - -",
        "shop/invalid invalid invalid - -",
        "strict/strict strict localhost/k8s-web - -",
    ];
    let want: BTreeSet<String> = CASES.iter().filter_map(of_case).chain(waiting.map(str::to_owned)).collect();
    ensure!(got == want, "want {want:?}, got {got:?}");
    Ok(())
}

/// Waits until what there is is what there shall be, exactly.
fn until_exactly(want: &BTreeSet<String>, look: impl Fn() -> Result<BTreeSet<String>>) -> Result<()> {
    until(|| {
        let got = look()?;
        let (lacks, more): (Vec<_>, Vec<_>) =
            (want.difference(&got).collect(), got.difference(want).collect());
        ensure!(got == *want, "lacks {lacks:?}, has {more:?} too many");
        Ok(())
    })
}

fn until_said(server: &ApiServer, words: &str) -> Result<()> {
    until(|| {
        let notes: Vec<_> =
            server.all(&Resource::EVENTS).iter().map(|event| event["note"].to_string()).collect();
        let said = notes.iter().any(|note| note.contains("k8s-late") && note.contains(words));
        ensure!(said, "no note has these words: {notes:?}");
        Ok(())
    })
}

fn parser(what: &str, profiles: &str) -> Result<()> {
    let path = Path::new("/etc/apparmor.d").join(profiles);
    let arguments = [what, "--skip-cache", "--quiet", &path.to_string_lossy()];
    let end = Command::new("/sbin/apparmor_parser").args(arguments).output();
    let end = end.context("starting apparmor_parser")?;
    ensure!(end.status.success(), "apparmor_parser {what}: {}", String::from_utf8_lossy(&end.stderr).trim());
    Ok(())
}

/// Holds the agent's inventory against the kernel's own list.
fn inventory() -> Result<()> {
    let list =
        fs::read_to_string("/sys/kernel/security/apparmor/profiles").context("reading the profiles")?;
    let want: BTreeSet<String> =
        list.lines().filter(|line| !line.contains("//null-")).map(str::to_owned).collect();
    ensure!(want.contains("k8s-late (enforce)") && !list.contains("k8s-gone"), "{list}");
    let (_, samples) = agent::metrics()?;
    let info = samples.iter().filter(|sample| sample.name == "apparmor_profile_info");
    let got: BTreeSet<_> =
        info.map(|sample| format!("{} ({})", sample.label("profile"), sample.label("mode"))).collect();
    ensure!(got == want, "want {want:?}, got {got:?}");
    let changes = |operation: &str| {
        aa_monitor_tests::scrape::sum(&samples, "apparmor_policy_changes_total", &[("operation", operation)])
    };
    let (loaded, removed) = (changes("profile_load"), changes("profile_remove"));
    ensure!((loaded, removed) == (1, 1), "want one load and one removal, got {loaded} and {removed}");
    Ok(())
}
