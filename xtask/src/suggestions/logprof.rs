//! `aa-logprof` on the logs that we suggest from: we get by with no more rules than it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::debian12::Debian12;
use crate::place;
use crate::step::{Step, write};
use crate::vm::Tally;

/// Rules by profile and kind.
type Counts = BTreeMap<(String, String), usize>;

/// Counts ours and its, kind by kind of each profile, where it has any.
pub(super) fn compare(debian: &Debian12, log: &Path, tally: &mut Tally) -> Result<()> {
    let folder = place::lab().join("logprof");
    let _ = fs::remove_dir_all(&folder);
    let profiles = folder.join("profiles");
    fs::create_dir_all(&profiles).with_context(|| format!("making {}", profiles.display()))?;
    let shared = folder.join("log");
    let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    write(&shared, common(&text))?;

    let ours = counts(&suggested(debian, &shared)?);
    for part in ["abi", "abstractions", "tunables"] {
        symlink(debian.profiles().join(part), profiles.join(part))?;
    }
    // It passes over profiles that are not on the disk.
    let names: BTreeSet<&str> =
        ours.keys().map(|(profile, _)| profile.as_str()).filter(|name| !name.contains("//")).collect();
    for name in &names {
        let text = format!("abi <abi/3.0>,\n\ninclude <tunables/global>\n\nprofile {name} {{\n}}\n");
        write(&profiles.join(name), text)?;
    }
    let script = folder.join("logprof.py");
    write(&script, include_str!("logprof.py"))?;
    let step = Step { name: "aa-logprof", way_out: "delete target/tools/apparmor-3.0-* to fetch it again" };
    step.run(debian.python(&script).arg(debian.configuration()).arg(&profiles).arg(&shared))?;

    let mut theirs = Counts::new();
    for name in names {
        let text = fs::read_to_string(profiles.join(name)).with_context(|| format!("reading {name}"))?;
        theirs.extend(counts(&text));
    }
    let name = log.file_stem().unwrap_or_default().to_string_lossy();
    ensure!(!theirs.is_empty(), "aa-logprof has no rule for {name}, and nothing was compared");
    for ((profile, kind), theirs) in theirs {
        let ours = ours.get(&(profile.clone(), kind.clone())).copied().unwrap_or_default();
        // None of ours would be another answer, and no shorter one.
        let good = (1..=theirs).contains(&ours);
        *(if good { &mut tally.passed } else { &mut tally.failed }) += 1;
        let word = if good { "" } else { ": FAIL" };
        println!("  {name}: {profile}, {kind}: {ours} rules, aa-logprof {theirs}{word}");
    }
    Ok(())
}

/// A log that both can read. It knows no `class=`, fails on hats, and passes over names that could not be
/// looked up.
fn common(log: &str) -> String {
    let understood = |line: &&str| {
        !line.contains(r#"operation="change_hat""#) && !line.contains(r#"info="Failed name lookup"#)
    };
    let mut text = String::new();
    for line in log.lines().filter(understood) {
        let mut line = line.replacen("audit: type=1400 audit(", "type=AVC msg=audit(", 1);
        if let Some((before, after)) = line.split_once(r#" class=""#)
            && let Some((_, after)) = after.split_once('"')
        {
            line = format!("{before}{after}");
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn suggested(debian: &Debian12, log: &Path) -> Result<String> {
    let mut suggest = Command::new(place::workspace().join("target/debug/aa-monitor"));
    suggest
        .arg("suggest")
        .arg("--from")
        .arg(log)
        .args(["--format", "profile", "--abi", "3.0", "--exec", "ix", "--generalise", "none"])
        .arg("--include-dir")
        .arg(debian.profiles());
    let answer = suggest.output().context("starting aa-monitor")?;
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.code() == Some(2), "nothing is suggested of {}: {said}", log.display());
    String::from_utf8(answer.stdout).context("the suggestion is no text")
}

/// The rules of each profile, by their first word. What is inside of a profile's child counts as the child's.
fn counts(source: &str) -> Counts {
    let mut counts = Counts::new();
    let mut inside: Vec<String> = Vec::new();
    for line in source.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line == "}" {
            inside.pop();
        } else if let Some(begin) = line.strip_suffix('{') {
            let name = begin.trim_start_matches("profile ").split(' ').next().unwrap_or_default();
            inside.push(name.to_owned());
        } else if let Some(rule) = line.strip_suffix(',').filter(|line| !line.starts_with('#'))
            && !inside.is_empty()
        {
            let kind = match rule.split(' ').next().unwrap_or_default() {
                "owner" | "link" => "file",
                path if path.starts_with(['/', '@', '"']) => "file",
                "network" if rule.starts_with("network unix") => "unix",
                word => word,
            };
            *counts.entry((inside.join("//"), kind.to_owned())).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{common, counts};

    #[test]
    fn rules_are_counted_by_profile_and_kind() {
        let source = "abi <abi/3.0>,\n\nprofile a flags=(complain) {\n  owner /x r,\n  \"/a b\" w, # 1x, last, c\n\
            \n  # /y r,\n  link /x -> /y,\n  network inet stream,\n  network unix stream,\n  unix (create) type=stream,\n\
            \n  profile hat {\n    @{PROC}/x r,\n  }\n  capability chown,\n}\n\nprofile b {\n}\n";
        let counted: Vec<_> = counts(source)
            .into_iter()
            .map(|((profile, kind), count)| format!("{profile} {kind} {count}"))
            .collect();
        assert_eq!(counted, ["a capability 1", "a file 3", "a network 1", "a unix 2", "a//hat file 1"]);
    }

    #[test]
    fn a_log_is_made_to_be_understood_by_both() {
        for (name, line, want) in [
            (
                "framing and class",
                r#"audit: type=1400 audit(1.0:1): apparmor="DENIED" operation="open" class="file" profile="p""#,
                "type=AVC msg=audit(1.0:1): apparmor=\"DENIED\" operation=\"open\" profile=\"p\"\n",
            ),
            ("a hat", r#"audit: type=1400 audit(1.0:1): operation="change_hat" class="domain""#, ""),
            ("a path", r#"operation="open" info="Failed name lookup - disconnected path""#, ""),
        ] {
            assert_eq!(common(line), want, "{name}");
        }
    }
}
