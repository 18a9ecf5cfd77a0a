//! `tail`, `status` and `suggest` as a user has them: help, wrong usage, no agent, hostile bytes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use crate::agent::output;

#[test]
fn each_says_what_it_is_for() {
    for (name, part) in [("tail", "--no-follow"), ("status", "--quiet"), ("suggest", "Exit codes:")] {
        let end = output(&[name, "--help"]);
        let text = String::from_utf8(end.stdout).unwrap();
        assert_eq!(end.status.code(), Some(0), "{name}");
        assert!(text.contains(part), "{name}: {text}");
    }
}

#[test]
fn wrong_usage_and_failures_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    let rows: &[(&[&str], i32, &str)] = &[
        (&["tail", "--last", "many"], 64, "--last"),
        (&["tail", "--verdict", "maybe"], 64, "--verdict"),
        (&["status", "--quiet", "soon"], 64, "--quiet"),
        (&["suggest", "--format", "poem"], 64, "--format"),
        (&["suggest", "--format", "diff"], 64, "--profile-file"),
        (&["tail", "--socket", &absent], 1, "cannot reach the agent"),
        (&["status", "--socket", &absent], 1, "cannot reach the agent"),
        (&["suggest", "--socket", &absent], 1, "cannot reach the agent"),
        (&["suggest", "--from", &absent], 1, "cannot read"),
        (&["suggest", "--merge", &absent], 1, "cannot read"),
    ];
    for (args, code, part) in rows {
        let end = output(args);
        let said = String::from_utf8_lossy(&end.stderr);
        assert_eq!(end.status.code(), Some(*code), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
        assert!(end.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_exit_status_of_suggest_says_whether_anything_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let log = write(
        "log",
        "type=AVC msg=audit(1.000:1): apparmor=\"ALLOWED\" operation=\"open\" profile=\"web\" \
         name=\"/etc/x\" comm=1B5D303B7A07 requested_mask=\"r\" denied_mask=\"r\"\n",
    );
    let file = write("web", "profile web { /etc/x r, }\n");
    let none = write("none", "");
    let rows: &[(&[&str], i32, &str)] = &[
        (&["--from", &log], 2, "/etc/x r,"),
        (&["--from", &log, "--profile-file", &file], 0, ""),
        (&["--from", &log, "--profile", "other"], 0, ""),
        (&["--from", &none], 0, ""),
        (&["--from", &log, "--complain", "--format", "profile"], 2, "profile web flags=(complain) {"),
    ];
    for (args, code, part) in rows {
        let end = output(&[&["suggest"], *args].concat());
        let text = String::from_utf8(end.stdout).unwrap();
        assert_eq!(end.status.code(), Some(*code), "{args:?}: {}", String::from_utf8_lossy(&end.stderr));
        assert!(text.contains(part), "{args:?}: {text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {text:?}");
    }
}

/// Whatever is behind the socket, it is no agent: that is a failure, and none of it reaches the terminal.
#[test]
fn what_answers_like_no_agent_is_a_failure() {
    let answers: [&[u8]; 4] = [b"", b"\x1b]0;owned\x07\n", b"\xff\xfe\0\n", b"{\"error\":\"\x1b[2J\"}\n"];
    for name in ["tail", "status", "suggest"] {
        for answer in answers {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s");
            let listener = UnixListener::bind(&path).unwrap();
            let serving = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
                // The client may have gone at the first byte.
                let _ = stream.write_all(answer);
            });
            let end = output(&[name, "--socket", path.to_str().unwrap()]);
            serving.join().unwrap();
            assert_eq!(end.status.code(), Some(1), "{name}, {answer:?}");
            let said = [end.stdout, end.stderr].concat();
            assert!(!said.contains(&0x1b), "{name}: {:?}", String::from_utf8_lossy(&said));
        }
    }
}
