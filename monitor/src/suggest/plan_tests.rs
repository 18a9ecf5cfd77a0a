use super::*;
use crate::suggest::profile::{self, Folders};
use crate::suggest::render;

/// Evidence for these records, each without its beginning.
pub(in crate::suggest) fn evidence(records: &[&str]) -> Vec<Evidence> {
    use bumpalo::Bump;

    use crate::merge::{Event, SeenBy};
    use crate::record::{Origin, Senders, parse_line};

    let mut all: BTreeMap<String, Seen> = BTreeMap::new();
    for record in records {
        let line = format!(r#"audit: type=1400 audit(1.000:1): apparmor="ALLOWED" comm="c" {record}"#);
        let arena = Bump::new();
        let violation = parse_line(line.as_bytes(), Origin::File, &Senders::by_program(), &arena).unwrap();
        let one =
            crate::output::history::evidence::of_event(&Event::unresolved(violation, SeenBy::default()))
                .unwrap();
        all.entry(one.record).or_default().add(&one.seen);
    }
    all.into_iter().map(|(record, seen)| Evidence { record, seen }).collect()
}

fn rules(records: &[&str], wishes: &Wishes) -> Vec<String> {
    let mut found = Vec::new();
    fn collect(found: &mut Vec<String>, suggestion: &Suggestion, prefix: &str) {
        let name = format!("{prefix}{}{}", if suggestion.hat { "^" } else { "" }, suggestion.name);
        found.extend(suggestion.lines.iter().map(|line| format!("{name}: {}", line.rule)));
        found
            .extend(suggestion.denied.iter().map(|(line, deny)| format!("{name}: {} but {deny}", line.rule)));
        found.extend(suggestion.flags.keys().map(|flag| format!("{name}: flag {flag}")));
        for child in &suggestion.children {
            collect(found, child, &format!("{name}//"));
        }
    }
    for suggestion in plan(&evidence(records), wishes) {
        collect(&mut found, &suggestion, "");
    }
    found
}

fn existing(text: &str) -> Option<Source> {
    Some(profile::read(text, &Folders(Vec::new())))
}

#[test]
fn rules_are_as_few_as_the_evidence_allows() {
    let open = |name: &str, mask: &str, owner: bool| {
        let (fsuid, ouid) = if owner { (7, 7) } else { (7, 0) };
        format!(
            r#"operation="open" profile="p" name="{name}" denied_mask="{mask}" fsuid={fsuid} ouid={ouid}"#
        )
    };
    let signal = |mask: &str, signal: &str, peer: &str| {
        format!(r#"operation="signal" profile="p" denied_mask="{mask}" signal={signal} peer="{peer}""#)
    };
    let rows: &[(&str, Vec<String>, &[&str])] = &[
        ("masks are joined", vec![open("/a", "r", false), open("/a", "w", false)], &["p: /a rw,"]),
        ("owner if always", vec![open("/a", "r", true), open("/a", "w", true)], &["p: owner /a rw,"]),
        ("no owner if not always", vec![open("/a", "r", true), open("/a", "w", false)], &["p: /a rw,"]),
        ("append in write", vec![open("/a", "a", false), open("/a", "w", false)], &["p: /a w,"]),
        (
            "pids are one",
            vec![open("/proc/1/stat", "r", true), open("/proc/22/stat", "r", true)],
            &["p: owner @{PROC}/@{pid}/stat r,"],
        ),
        (
            "numbers that differ",
            vec![open("/dev/nvidia0", "r", false), open("/dev/nvidia1", "r", false)],
            &["p: /dev/nvidia[0-9]* r,"],
        ),
        (
            "numbers that differ, granted differently",
            vec![open("/dev/nvidia0", "r", false), open("/dev/nvidia1", "w", false)],
            &["p: /dev/nvidia0 r,", "p: /dev/nvidia1 w,"],
        ),
        (
            "signals",
            vec![signal("send", "term", "x"), signal("send", "kill", "x"), signal("receive", "term", "x")],
            &["p: signal (receive) set=(term) peer=x,", "p: signal (send) set=(kill term) peer=x,"],
        ),
        (
            "to itself",
            vec![signal("send", "term", "p")],
            &["p: signal (send) set=(term) peer=@{profile_name},"],
        ),
    ];
    for (name, records, want) in rows {
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        assert_eq!(rules(&records, &Wishes::default()), *want, "{name}");
    }
}

const EXECUTES: &[&str] = &[
    r#"operation="exec" profile="p" name="/bin/sh" denied_mask="x" target="p//null-/bin/sh""#,
    r#"operation="open" profile="p//null-/bin/sh" name="/etc/x" denied_mask="r""#,
    r#"operation="exec" profile="p//null-/bin/sh" name="/bin/cat" denied_mask="x" target="p//null-/bin/sh//null-/bin/cat""#,
    r#"operation="file_mmap" profile="p//null-/bin/sh//null-/bin/cat" name="/bin/cat" denied_mask="rm""#,
    r#"operation="signal" profile="p" denied_mask="send" signal=term peer="p//null-/bin/sh""#,
];

#[test]
fn what_was_executed_is_folded_as_chosen() {
    let rows: &[(ExecChoice, &[&str])] = &[
        (
            ExecChoice::Ix,
            &[
                "p: /bin/cat mrix,",
                "p: /bin/sh ix,",
                "p: /etc/x r,",
                "p: signal (send) set=(term) peer=@{profile_name},",
            ],
        ),
        (
            ExecChoice::Cx,
            &[
                "p: /bin/sh Cx,",
                "p: signal (send) set=(term) peer=p///bin/sh,",
                "p///bin/sh: /bin/cat mrCx,",
                "p///bin/sh: /etc/x r,",
            ],
        ),
        (
            ExecChoice::Px,
            &[
                "/bin/sh: /bin/cat mrPx,",
                "/bin/sh: /etc/x r,",
                "p: /bin/sh Px,",
                "p: signal (send) set=(term) peer=/bin/sh,",
            ],
        ),
    ];
    for (exec, want) in rows {
        let wishes = Wishes { exec: *exec, ..Wishes::default() };
        assert_eq!(rules(EXECUTES, &wishes), *want, "{exec:?}");
    }
}

/// Until the programs that ran have a rule, not all of what they do has been seen.
#[test]
fn another_round_is_asked_for_while_programs_have_no_rule() {
    let all = "profile p { /** rmix, }";
    let rows: &[(&str, &[&str], Option<&str>, bool)] = &[
        ("no profile yet", EXECUTES, None, true),
        ("rules for some", EXECUTES, Some("profile p { /bin/sh ix, }"), true),
        ("rules for all", EXECUTES, Some(all), false),
        ("nothing was executed", &EXECUTES[4..], None, false),
    ];
    for (name, records, source, want) in rows {
        let wishes = Wishes { existing: source.and_then(existing), ..Wishes::default() };
        let suggestions = plan(&evidence(records), &wishes);
        assert_eq!(suggestions.iter().any(|one| one.half_seen), *want, "{name}");
        let text = render::rules(&suggestions, Abi::V3, false);
        assert_eq!(text.contains("run once more"), *want, "{name}: {text}");
        let text = render::profile(&suggestions, Abi::V3, true, None);
        assert!(text.contains("profile p flags=(complain) {"), "{name}: {text}");
    }
}

#[test]
fn a_missing_hat_gets_what_was_done_in_it() {
    let records = [
        r#"operation="change_hat" profile="p" name="h" target="p//null-h""#,
        r#"operation="open" profile="p//null-h" name="/x" denied_mask="r""#,
    ];
    assert_eq!(rules(&records, &Wishes::default()), ["p//^h: /x r,"]);
}

#[test]
fn what_the_profile_has_is_left_out() {
    let records = [
        r#"operation="open" profile="p" name="/etc/a" denied_mask="r""#,
        r#"operation="open" profile="p" name="/etc/b" denied_mask="rw""#,
        r#"operation="open" profile="p" name="/srv/secret" denied_mask="r""#,
        r#"operation="capable" profile="p" capability=0 capname="chown""#,
        r#"operation="capable" profile="p" capability=1 capname="dac_override""#,
        r#"operation="create" profile="p" class="net" family="inet" sock_type="stream" denied_mask="create""#,
        r#"operation="open" profile="p" name="run/x" denied_mask="r" info="Failed name lookup - disconnected path""#,
    ];
    let source = "profile p flags=(attach_disconnected) {\n  /etc/* r,\n  deny /srv/** rw,\n  capability chown,\n  \
                  network inet,\n  /run/** r,\n}\n";
    let wishes = Wishes { existing: existing(source), ..Wishes::default() };
    assert_eq!(
        rules(&records, &wishes),
        ["p: /etc/b w,", "p: capability dac_override,", "p: /srv/secret r, but deny /srv/** rw"]
    );
}

#[test]
fn a_file_gains_what_it_misses_and_nothing_else_changes() {
    let source = "# kept\nprofile other { /x r, }\n\nprofile p { # kept too\n  /etc/a r,\n\n  ^h {\n    /b r,\n  }\n}\n# end\n";
    let wishes = Wishes { existing: existing(source), ..Wishes::default() };
    let records = [
        r#"operation="open" profile="p" name="/new" denied_mask="r""#,
        r#"operation="open" profile="p//h" name="/newer" denied_mask="r""#,
    ];
    let suggestions = plan(&evidence(&records), &wishes);
    let text =
        render::profile(&suggestions, Abi::V3, false, wishes.existing.as_ref().map(|found| (found, source)));
    let kept: Vec<_> = text.lines().filter(|line| source.lines().any(|old| old == *line)).collect();
    assert_eq!(
        kept.iter().filter(|line| !line.is_empty()).count(),
        source.lines().filter(|l| !l.is_empty()).count()
    );
    let again = Wishes { existing: existing(&text), ..Wishes::default() };
    let left = plan(&evidence(&records), &again);
    assert!(!left.iter().any(Suggestion::is_missing), "{text}\n{left:?}");
    let diff = render::diff("p", source, &text);
    let added: Vec<_> =
        diff.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).collect();
    assert!(added.iter().any(|line| line.contains("/newer r,")), "{diff}");
    assert_eq!(diff.lines().filter(|line| line.starts_with("@@")).count(), 2, "{diff}");
    assert_eq!(diff.lines().filter(|line| line.starts_with('-')).count(), 1, "{diff}");
}

#[test]
fn few_violations_can_be_left_out() {
    let open = r#"operation="open" profile="p" name="/a" denied_mask="r""#;
    let records = [open, open, r#"operation="open" profile="p" name="/b" denied_mask="r""#];
    let wishes = Wishes { min_count: 2, ..Wishes::default() };
    assert_eq!(rules(&records, &wishes), ["p: /a r,"]);
}

#[test]
fn an_abi_without_the_words_is_told() {
    let records = [
        r#"operation="userns_create" profile="p" class="namespace" requested="userns_create" denied="userns_create""#,
    ];
    for (abi, unwritable) in [(Abi::V3, true), (Abi::V4, false)] {
        let wishes = Wishes { abi, ..Wishes::default() };
        let lines = plan(&evidence(&records), &wishes).remove(0).lines;
        assert_eq!(lines.first().map(|line| line.unwritable), Some(unwritable));
    }
}
