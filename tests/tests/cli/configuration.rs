//! What the agent is told, and what it answers when that makes no sense.

use std::fs;
use std::path::PathBuf;

use crate::agent::{command, output, unset};

/// A configuration file that is removed with the test.
struct File(PathBuf);

impl File {
    fn with(text: &str) -> Self {
        let name = format!("aa-monitor-{}-{:?}.toml", std::process::id(), std::thread::current().id());
        let file = Self(std::env::temp_dir().join(name));
        fs::write(&file.0, text).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn exit_codes_and_messages_of_the_command_line() {
    for (args, code, part) in [
        (&["--help"][..], 0, "Exit codes"),
        (&["run", "--help"], 0, "Examples:"),
        (&["--version"], 0, "aa-monitor "),
        (&["completions", "bash"], 0, "complete -F"),
        (&[], 64, "Usage:"),
        (&["walk"], 64, "walk"),
        (&["completions", "tcl"], 64, "[possible values: bash,"),
        (&["run", "--lsten", "x"], 64, "--listen"),
        (&["run", "--source", "ebf"], 64, "'ebpf'"),
        (&["run", "--listen", "9464"], 64, "such as 127.0.0.1:9464"),
        (&["run", "--ring-size", "1MB"], 64, "the next one is 1MiB"),
        (&["run", "--queue-length", "0"], 64, "expected a whole number from"),
        (&["run", "--metric-labels", "pods"], 64, "is not one of operation, profile,"),
        (&["run", "--pod-source", "apis"], 64, "'api'"),
        (&["run", "--node-name", "Node 1"], 64, "such as node-1"),
        (&["run", "--kubelet-url", "localhost"], 64, "such as https://"),
        (&["run", "--keep-gone", "5s"], 64, "must be from 1m to 1day"),
        (&["run", "--output-file", "/tmp/x"], 64, "set output to json or table"),
        (&["run", "--config", "/nonexistent/x.toml"], 64, "/nonexistent/x.toml"),
        (&["run", "--output", "json", "--output-file", "/nonexistent/x.json"], 1, "/nonexistent/x.json"),
    ] {
        let args = if args.first() == Some(&"run") && code == 1 {
            [args, &["--listen", "127.0.0.1:0"]].concat()
        } else {
            args.to_vec()
        };
        let output = output(&args);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn a_bad_file_is_answered_with_file_line_key_and_the_nearest_right_word() {
    let file = File::with("listen = \"127.0.0.1:1\"\nsorce = \"audit\"\noutput = \"tabel\"\n");
    let output = output(&["run", "--config", file.path()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in [
        format!("{}:2: unknown key \"sorce\"; did you mean source?", file.path()),
        format!(
            "{}:3: output = \"tabel\" is not one of none, json, table; did you mean \"table\"?",
            file.path()
        ),
    ] {
        assert!(text.contains(&part), "{part}\n{text}");
    }
}

#[test]
fn a_bad_value_in_the_environment_is_answered_with_the_variable() {
    let output = command(&["run"]).env("AA_MONITOR_SOURCE", "ebf").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("AA_MONITOR_SOURCE"), "{text}");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = File::with("log-level = \"trace\"\nsource = \"audit\"\nqueue-length = 99\n");
    let output = command(&["run", "--print-config", "--config", file.path(), "--log-level", "warn"])
        .env("AA_MONITOR_LOG_LEVEL", "debug")
        .env("AA_MONITOR_SOURCE", "ebpf")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["log-level = \"warn\"", "source = \"ebpf\"", "queue-length = 99"] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn the_printed_configuration_reads_back_the_same() {
    let flags = [
        "run",
        "--print-config",
        "--output",
        "json",
        "--output-file",
        "/tmp/a \"b\"",
        "--ring-size",
        "512KiB",
    ];
    // What the environment says would win over the file.
    let printed = unset(&flags).output().unwrap();
    assert_eq!(printed.status.code(), Some(0));
    let file = File::with(std::str::from_utf8(&printed.stdout).unwrap());
    let again = unset(&["run", "--print-config", "--config", file.path()]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(printed.stdout, again.stdout);
}
