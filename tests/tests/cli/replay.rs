//! `aa-monitor replay` as a user has it: what it says of any log, and what a hostile one can do.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aa_monitor_tests::scrape;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{command, output};

/// Longer than a line takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record as auditd writes it, `seconds` after the epoch.
fn record(seconds: u32, serial: u32) -> String {
    format!(
        "type=AVC msg=audit({seconds}.000:{serial}): apparmor=\"DENIED\" operation=\"open\" profile=\"web\" \
         name=\"/n{serial}\" pid=7 comm=\"cat\" requested_mask=\"r\" denied_mask=\"r\" fsuid=0 ouid=0\n"
    )
}

/// A log in a folder of its own.
fn log(text: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn replay(args: &[&str], path: &str) -> Output {
    output(&[&["replay"], args, &[path]].concat())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// One line of each kind that logs mix, and what it counts as.
const MIXED: [&str; 9] = [
    "type=AVC msg=audit(1.000:1): apparmor=\"DENIED\" operation=\"open\" profile=\"web\" name=\"/a\"",
    "6,1234,567890,-;audit: type=1400 audit(2.000:2): apparmor=\"ALLOWED\" operation=\"open\" profile=\"web\" name=\"/b\"",
    "Nov 23 16:08:54 node kernel: [ 12.3] audit: type=1400 audit(3.000:3): apparmor=\"DENIED\" operation=\"open\" profile=\"web\" name=\"/c\"",
    r#"{"_TRANSPORT":"kernel","SYSLOG_FACILITY":"0","MESSAGE":"audit: type=1400 audit(4.000:4): apparmor=\"DENIED\" operation=\"open\" profile=\"web\" name=\"/d\""}"#,
    "Nov 23 16:08:54 node sshd[1]: Accepted publickey for root",
    "",
    "type=LOGIN msg=audit(5.000:5): pid=1 uid=0",
    "type=AVC msg=audit(6.000:6): apparmor=\"REFUSED\" operation=\"open\"",
    "type=USER_AVC msg=audit(7.000:7): pid=1 uid=0 msg='apparmor=\"DENIED\" operation=\"dbus_method_call\" label=\"web\" exe=\"/tmp/x\"'",
];
const ACCOUNT: &str = "9 lines = 4 violations + 3 of other kinds + 1 malformed + 1 not believed";

#[test]
fn every_line_is_accounted_for_from_a_file_and_from_standard_input() {
    let (_folder, path) = log(MIXED.join("\n"));
    let from_file = replay(&["--output", "json"], &path);
    assert_eq!(from_file.status.code(), Some(0), "{}", errors(&from_file));
    assert!(errors(&from_file).contains(ACCOUNT), "{}", errors(&from_file));
    let mut child = command(&["replay", "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(MIXED.join("\n").as_bytes()).unwrap();
    let from_input = child.wait_with_output().unwrap();
    assert!(errors(&from_input).contains(ACCOUNT), "{}", errors(&from_input));
    assert_eq!(text(from_input), text(from_file));
}

#[test]
fn a_malformed_record_is_told_and_ends_a_strict_replay_only() {
    let (_folder, path) = log(MIXED.join("\n"));
    for (args, code) in [(&[][..], 0), (&["--strict"], 1)] {
        let end = replay(args, &path);
        assert_eq!(end.status.code(), Some(code), "{args:?}: {}", errors(&end));
        let told = errors(&end);
        assert!(told.contains("malformed record: its apparmor= is none of"), "{args:?}: {told}");
        assert!(told.contains("REFUSED"), "{args:?}: the record is shown: {told}");
    }
}

#[test]
fn filters_choose_what_is_reported_and_not_what_is_counted() {
    let records = [record(86_400, 1), record(2 * 86_400, 2), record(3 * 86_400, 3)].concat();
    let (_folder, path) = log(records);
    for (args, want) in [
        (&["--since", "1970-01-03"][..], 2),
        (&["--since", "1970-01-04T00:00:01Z"], 0),
        (&["--verdict", "denied"], 3),
        (&["--verdict", "allowed", "--verdict", "killed"], 0),
        (&["--class", "file", "--operation", "open", "--profile", "w?b"], 3),
        (&["--profile", "w"], 0),
    ] {
        let end = replay(&[&["--output", "json"], args].concat(), &path);
        assert!(errors(&end).starts_with("3 lines = 3 violations"), "{args:?}: {}", errors(&end));
        assert_eq!(text(end).lines().count(), want, "{args:?}");
    }
}

/// A replay that follows, and the lines that it prints.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(path: &Path) -> Self {
        let mut child = command(&["replay", "--follow", "--output", "json", path.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test may have ended.
                let _ = to.send(line);
            }
        });
        Self { child, lines }
    }

    fn expect(&self, serial: u32, when: &str) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{when}: no line"));
        let event: Value = serde_json::from_str(&line).unwrap();
        let name = event.get("name").and_then(Value::as_str);
        assert_eq!(name, Some(&*format!("/n{serial}")), "{when}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn follow_goes_through_all_that_logrotate_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let append = |serials: std::ops::RangeInclusive<u32>| {
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        let records: String = serials.map(|serial| record(1, serial)).collect();
        file.write_all(records.as_bytes()).unwrap();
    };
    let mut following = Following::start(&path);
    append(1..=2);
    following.expect(1, "the file appears");
    following.expect(2, "and has two records");
    append(3..=3);
    following.expect(3, "it grows");
    fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
    append(4..=4);
    following.expect(4, "it is renamed and begun anew");
    append(5..=5);
    following.expect(5, "and grows");
    fs::copy(&path, folder.path().join("audit.log.2")).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(6..=6);
    following.expect(6, "it is copied and truncated");
    kill(Pid::from_raw(following.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(following.child.wait().unwrap().code(), Some(0));
    let mut told = String::new();
    following.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("6 lines = 6 violations + 0 of other kinds"), "{told}");
}

/// What a confined program may call its files, and an administrator a profile.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a terminal escape", b"/a\x1b[2J\x1b]0;owned\x07".to_vec()),
        ("a C1 escape", "/a\u{9b}31m".into()),
        ("a newline", b"/a\napparmor_events_total{} 1e9\r\n".to_vec()),
        ("a quote and a brace", br#"/a"} 7 {"b":"\"#.to_vec()),
        ("64 KiB", [&b"/"[..], &[b'a'; 65_535]].concat()),
        ("what turns text around", "/a\u{202e}txt.exe".into()),
        ("no text", b"/a\xff\xfe".to_vec()),
    ]
}

/// A record about such a name by a profile of that name, in the kernel's hex.
fn hostile_record(name: &[u8]) -> String {
    let hex: String = name.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "type=AVC msg=audit(1.000:1): apparmor=\"DENIED\" operation=\"open\" profile={hex} name={hex} pid=7 \
         comm={} requested_mask=\"r\" denied_mask=\"r\"\n",
        &hex[..hex.len().min(30)]
    )
}

/// What is printed must be text that does nothing.
fn assert_harmless(what: &str, printed: &str) {
    let acts = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
    assert!(!printed.chars().any(acts), "{what}: {printed:?}");
}

#[test]
fn hostile_names_come_out_harmless_in_every_format() {
    for (what, name) in hostile() {
        let (_folder, path) = log(hostile_record(&name));
        for (format, lines) in [("table", 2), ("summary", 2), ("json", 1)] {
            let end = replay(&["--strict", "--output", format], &path);
            assert!(end.status.success(), "{what}, {format}: {}", errors(&end));
            let printed = text(end);
            assert_harmless(&format!("{what}, {format}"), &printed);
            assert_eq!(printed.lines().count(), lines, "{what}, {format}");
        }

        let event: Value = serde_json::from_str(&text(replay(&["--output", "json"], &path))).unwrap();
        match std::str::from_utf8(&name) {
            Ok(exact) => assert_eq!(event["name"], exact, "{what}: json gives the name back"),
            Err(_) => assert_eq!(event["name_bytes"], "2f61fffe", "{what}: json gives the bytes back"),
        }

        let printed = text(replay(&["--output", "prom"], &path));
        assert_harmless(&format!("{what}, prom"), &printed);
        let samples = scrape::parse(&printed).unwrap_or_else(|error| panic!("{what}: {error:#}\n{printed}"));
        let counted: Vec<_> = samples.iter().filter(|s| s.name == "apparmor_events_total").collect();
        assert_eq!(counted.len(), 1, "{what}: {printed}");
        assert_eq!((counted[0].value, counted[0].label("verdict")), (1.0, "denied"), "{what}");
        assert!((2..1024).contains(&counted[0].label("profile").len()), "{what}: a label of bounded length");
    }
}
