//! Suggestions as text: rules, a whole profile, a difference, JSON.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::glob::quoted;
use super::plan::{Line, Suggestion};
use super::profile::{Profile, Source};
use super::text::Abi;
use crate::output::escape::escape;
use crate::output::history::evidence::{Evidence, Seen};

/// How much of a name a comment shows, and how many names.
const NAME_LIMIT: usize = 80;
const NAMES: usize = 2;

/// Said where [`Suggestion::half_seen`].
const HALF_SEEN: &str = "programs ran without a rule, and the kernel is silent about sockets, signals and mounts of such: \
    load this in complain mode (--complain), run once more, and ask again";

/// The version of the JSON document.
const VERSION: u32 = 1;

/// Rules by profile, to be pasted.
pub(crate) fn rules(suggestions: &[Suggestion], abi: Abi, complain: bool) -> String {
    let mut text = String::new();
    for suggestion in suggestions {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "# profile {}{}", title(suggestion), summary(suggestion));
        body(&mut text, suggestion, abi, complain, 1);
    }
    text
}

/// Whole profiles: new ones, or the file that was given with what it misses put in.
/// New ones are in complain mode when `complain` says so.
pub(crate) fn profile(
    suggestions: &[Suggestion],
    abi: Abi,
    complain: bool,
    existing: Option<(&Source, &str)>,
) -> String {
    let Some((source, file)) = existing else {
        let mut text = format!("abi <abi/{}>,\n\ninclude <tunables/global>\n", abi.as_str());
        for suggestion in suggestions {
            text.push('\n');
            block(&mut text, suggestion, abi, complain, 0);
        }
        return text;
    };
    // From the back, so that what stands before an insertion keeps its place.
    let mut insertions: Vec<(usize, usize, String)> = Vec::new();
    for suggestion in suggestions {
        match source.profiles.iter().find(|profile| profile.name == suggestion.name) {
            Some(written) => insert(&mut insertions, suggestion, written, abi, complain, 1),
            None if suggestion.is_missing() => {
                let mut text = "\n".to_owned();
                block(&mut text, suggestion, abi, complain, 0);
                insertions.push((file.len(), file.len(), text));
            }
            None => {}
        }
    }
    insertions.sort_by_key(|(from, _, _)| std::cmp::Reverse(*from));
    let mut text = file.to_owned();
    for (from, to, insertion) in insertions {
        if text.is_char_boundary(from) && text.is_char_boundary(to) && from <= to && to <= text.len() {
            text.replace_range(from..to, &insertion);
        }
    }
    text
}

/// What is put where in a file: the place is replaced.
fn insert(
    into: &mut Vec<(usize, usize, String)>,
    suggestion: &Suggestion,
    written: &Profile,
    abi: Abi,
    complain: bool,
    depth: usize,
) {
    let mut text = String::new();
    lines(&mut text, suggestion, abi, depth);
    for child in &suggestion.children {
        match written.child(&child.name) {
            Some(written) => insert(into, child, written, abi, complain, depth + 1),
            None => {
                text.push('\n');
                block(&mut text, child, abi, complain, depth);
            }
        }
    }
    if !text.is_empty() {
        let head = format!("\n{}# suggested by aa-monitor{}\n", indent(depth), summary(suggestion));
        into.push((written.end, written.end, format!("{head}{text}{}", indent(depth - 1))));
    }
}

/// A unified difference between `file` and what [`profile`] makes of it. Only additions are made, so that
/// no general way of finding one is needed.
pub(crate) fn diff(name: &str, old: &str, new: &str) -> String {
    const CONTEXT: usize = 3;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // Runs of lines that are new: where they stand in the new file.
    let mut changes: Vec<(usize, usize, usize)> = Vec::new();
    let (mut at, mut ours) = (0, 0);
    while at < new.len() {
        if old.get(ours).is_some() && old.get(ours) == new.get(at) && !starts_insertion(&new, at, &old, ours)
        {
            (at, ours) = (at + 1, ours + 1);
            continue;
        }
        let start = at;
        // The shortest run after which the files agree again to the end of it.
        let added = new.len() - old.len();
        let done: usize = changes.iter().map(|(_, _, length)| length).sum();
        let most = added.saturating_sub(done);
        let length = (1..=most)
            .find(|length| agree(&new, at + length, &old, ours, most - length))
            .unwrap_or(most.max(1));
        at += length;
        changes.push((start, ours, length));
    }
    if changes.is_empty() {
        return String::new();
    }
    let shown = escape(name.as_bytes(), usize::MAX);
    let mut text = format!("--- {shown}\n+++ {shown}\n");
    let mut before = 0;
    for (start, ours, length) in changes {
        let from = ours.saturating_sub(CONTEXT);
        let to = (ours + CONTEXT).min(old.len());
        let _ =
            writeln!(text, "@@ -{},{} +{},{} @@", from + 1, to - from, from + before + 1, to - from + length);
        let context = |text: &mut String, from: usize, to: usize| {
            for line in old.get(from..to).unwrap_or_default() {
                let _ = writeln!(text, " {line}");
            }
        };
        context(&mut text, from, ours);
        for line in new.get(start..start + length).unwrap_or_default() {
            let _ = writeln!(text, "+{line}");
        }
        context(&mut text, ours, to);
        before += length;
    }
    text
}

/// An insertion begins with an empty line and our own comment.
fn starts_insertion(new: &[&str], at: usize, old: &[&str], ours: usize) -> bool {
    let ours_too = old.get(ours + 1) == new.get(at + 1);
    new.get(at + 1).is_some_and(|line| line.trim_start().starts_with("# suggested by aa-monitor"))
        && !ours_too
}

/// Whether the rest of both agrees, but for `more` further lines of the new one.
fn agree(new: &[&str], at: usize, old: &[&str], ours: usize, more: usize) -> bool {
    let rest = old.len() - ours.min(old.len());
    if more == 0 {
        return new.get(at..) == old.get(ours..);
    }
    // Up to the next insertion.
    let next = (0..=rest).find(|step| starts_insertion(new, at + step, old, ours + step));
    next.is_some_and(|step| new.get(at..at + step) == old.get(ours..ours + step))
}

/// Everything, for programs; `evidence` so that several nodes' can be put together.
pub(crate) fn json(suggestions: &[Suggestion], evidence: &[Evidence], abi: Abi) -> String {
    let document = json!({
        "version": VERSION,
        "abi": abi.as_str(),
        "profiles": suggestions.iter().map(value).collect::<Vec<_>>(),
        "evidence": evidence,
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn value(suggestion: &Suggestion) -> Value {
    let line = |line: &Line| {
        json!({
            "rule": line.rule.to_string(),
            "seen": line.seen,
            "generalised": line.steps,
            "review": line.review,
            "abstraction": line.abstraction,
            "unwritable": line.unwritable,
        })
    };
    json!({
        "name": suggestion.name,
        "hat": suggestion.hat,
        "namespace": suggestion.namespace,
        "missing": suggestion.is_missing(),
        "rules": suggestion.lines.iter().map(line).collect::<Vec<_>>(),
        "includes": suggestion.includes,
        "flags": suggestion.flags,
        "denied": suggestion.denied.iter().map(|(denied, deny)| {
            let mut value = line(denied);
            if let Some(object) = value.as_object_mut() {
                object.insert("by".to_owned(), json!(deny));
            }
            value
        }).collect::<Vec<_>>(),
        "no_rule": suggestion.notes,
        "half_seen": suggestion.half_seen,
        "covered": suggestion.covered,
        "children": suggestion.children.iter().map(value).collect::<Vec<_>>(),
    })
}

fn title(suggestion: &Suggestion) -> String {
    let name = escape(suggestion.name.as_bytes(), NAME_LIMIT);
    match &suggestion.namespace {
        Some(namespace) => {
            format!("{name} of the policy namespace {}", escape(namespace.as_bytes(), NAME_LIMIT))
        }
        None => name.into_owned(),
    }
}

fn summary(suggestion: &Suggestion) -> String {
    let seen = suggestion.seen();
    if seen.count == 0 {
        return String::new();
    }
    let pods = match seen.pods.len() {
        0 => String::new(),
        crate::output::history::evidence::NAMES => {
            format!(" in {} pods or more", crate::output::history::evidence::NAMES)
        }
        pods => format!(" in {pods} pods"),
    };
    format!(": {} violations{pods}, last {}", seen.count, date(seen.last))
}

fn date(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return "at an unknown time".to_owned();
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string()
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// A profile, child or hat of its own.
fn block(text: &mut String, suggestion: &Suggestion, abi: Abi, complain: bool, depth: usize) {
    let indent = indent(depth);
    let name = quoted(&super::glob::literal(suggestion.name.as_bytes()));
    let flags: Vec<_> =
        complain.then_some("complain").into_iter().chain(suggestion.flags.keys().copied()).collect();
    let flags = if flags.is_empty() { String::new() } else { format!(" flags=({})", flags.join(", ")) };
    let _ = write!(text, "{indent}{}{name}", if suggestion.hat { "^" } else { "profile " });
    let _ = writeln!(text, "{flags} {{");
    body(text, suggestion, abi, complain, depth + 1);
    let _ = writeln!(text, "{indent}}}");
}

fn body(text: &mut String, suggestion: &Suggestion, abi: Abi, complain: bool, depth: usize) {
    lines(text, suggestion, abi, depth);
    for child in &suggestion.children {
        text.push('\n');
        block(text, child, abi, complain, depth);
    }
}

fn lines(text: &mut String, suggestion: &Suggestion, abi: Abi, depth: usize) {
    let indent = indent(depth);
    for (flag, seen) in &suggestion.flags {
        let _ = writeln!(text, "{indent}# needs flags=({flag}) # {}", told(seen));
    }
    for include in &suggestion.includes {
        let _ = writeln!(text, "{indent}include <{include}>");
    }
    for line in &suggestion.lines {
        let rule = if line.unwritable {
            format!("# {} (abi {} has no word for it)", line.rule, abi.as_str())
        } else {
            line.rule.to_string()
        };
        let _ = writeln!(text, "{indent}{rule} # {}", comment(line));
    }
    for (line, deny) in &suggestion.denied {
        let deny = escape(deny.as_bytes(), NAME_LIMIT * 2);
        let _ =
            writeln!(text, "{indent}# {} would not help: `{deny}` wins # {}", line.rule, told(&line.seen));
    }
    if suggestion.half_seen {
        let _ = writeln!(text, "{indent}# {HALF_SEEN}");
    }
    for (why, count) in &suggestion.notes {
        let _ = writeln!(text, "{indent}# {count} violations without a rule: {why}");
    }
}

/// What speaks for a rule, and what to think of before taking it over.
fn comment(line: &Line) -> String {
    let mut text = told(&line.seen);
    for step in line.steps.iter().take(NAMES) {
        let from = escape(step.from.as_bytes(), NAME_LIMIT * 2);
        let _ = write!(text, "; {from} -> {}: {}", step.to, step.why);
    }
    if let Some(abstraction) = &line.abstraction {
        let _ = write!(text, "; also in <{abstraction}>");
    }
    if let Some(review) = line.review {
        let _ = write!(text, "; review: {review}");
    }
    text
}

/// `12x, last 2026-01-31T12:00:00Z, nginx, shop/Deployment/web`.
fn told(seen: &Seen) -> String {
    let mut text = format!("{}x", seen.count);
    if seen.last != 0 {
        let _ = write!(text, ", last {}", date(seen.last));
    }
    for names in [&seen.comms, &seen.workloads] {
        for (number, name) in names.iter().take(NAMES).enumerate() {
            let name = escape(name.as_bytes(), NAME_LIMIT);
            let _ = write!(text, "{}{name}", if number == 0 { ", " } else { " " });
        }
        if names.len() > NAMES {
            let _ = write!(text, " +{}", names.len() - NAMES);
        }
    }
    text
}
