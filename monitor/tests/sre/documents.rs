//! Documents: a metric that they spell exists.

use super::catalogue::Catalogue;
use super::place;

/// Every document that users read.
fn documents() -> Vec<String> {
    let mut documents = place::files("docs", ".md");
    documents.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    documents
}

/// The words of a text that look like one of our metrics.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:*".contains(c)))
        .map(|word| word.trim_end_matches(':'))
        .filter(|word| word.starts_with("apparmor_") || word.starts_with("aa_monitor_"))
        // The kernel's own functions.
        .filter(|word| !word.starts_with("apparmor_task_") && !word.starts_with("apparmor_ptrace_"))
        // A command, and prefixes that a document greps for, are no metrics.
        .filter(|word| {
            !["apparmor_", "apparmor_parser", "aa_monitor_"].contains(word) && !word.ends_with('*')
        })
}

#[test]
fn documents_name_metrics_that_exist() {
    let catalogue = Catalogue::with_rules();
    for document in documents() {
        for name in metrics(&place::read(&document)) {
            let known = catalogue.labels(name).or_else(|| catalogue.labels(&format!("{name}_bucket")));
            assert!(known.is_some(), "{document}: no metric is called {name}");
        }
    }
}

#[test]
fn expressions_in_documents_are_right() {
    let catalogue = Catalogue::with_rules();
    let mut seen = 0;
    for document in documents() {
        let text = place::read(&document);
        for block in text.split("```promql\n").skip(1) {
            let block = block.split("```").next().unwrap();
            for expression in block.split("\n\n") {
                seen += 1;
                let why = super::promql::labels(expression, &catalogue);
                assert!(why.is_ok(), "{document}: {why:?}");
            }
        }
    }
    assert!(seen > 2, "{seen} expressions");
}
