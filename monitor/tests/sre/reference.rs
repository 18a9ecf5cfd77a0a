//! The generated part of docs/metrics.md.

use std::fmt::Write as _;
use std::fs;

use aa_monitor::output::metrics::reference::METRICS;

use super::place;

const PAGE: &str = "docs/metrics.md";
const BEGIN: &str = "<!-- reference: begin; generated from monitor/src/output/metrics/reference.rs, see CONTRIBUTING.md -->\n";
const END: &str = "<!-- reference: end -->\n";

fn table() -> String {
    let mut table =
        String::from("| metric | type | labels | what | series a node, at most |\n|---|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (metric.kind.as_str(), labels.join(" "));
        let _ =
            writeln!(table, "| `{}` | {kind} | {labels} | {} | {} |", metric.name, metric.help, metric.bound);
    }
    table
}

#[test]
fn the_page_is_the_registry() {
    let page = place::read(PAGE);
    let (before, rest) = page.split_once(BEGIN).expect("the reference begins");
    let (written, after) = rest.split_once(END).expect("the reference ends");
    let table = table();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(place::path(PAGE), [before, BEGIN, &table, END, after].concat()).unwrap();
        return;
    }
    assert!(
        written == table,
        "{PAGE} is stale; UPDATE_REFERENCE=1 cargo test -p aa-monitor --test sre the_page_is_the_registry\n\
         it has\n{written}\nand should have\n{table}"
    );
}

#[test]
fn a_metric_is_described_once_and_in_a_sentence() {
    for (at, metric) in METRICS.iter().enumerate() {
        assert!(METRICS[..at].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
        assert!(metric.help.ends_with('.'), "{}: {}", metric.name, metric.help);
        assert!(!metric.help.contains(['|', '\n']), "{}: {}", metric.name, metric.help);
        let counter = metric.kind.as_str() == "counter";
        assert_eq!(counter, metric.name.ends_with("_total"), "{}", metric.name);
    }
}
