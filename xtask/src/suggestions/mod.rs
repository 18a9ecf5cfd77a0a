//! `cargo xtask suggestions`: what is suggested for the recorded corpus is what AppArmor's parser accepts.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::userland::Userland;
use crate::place;
use crate::step::Step;
use crate::vm::Tally;

/// Names that a program may choose, and that nothing in a profile may take for anything but a name.
const HOSTILE: &str = r#"audit: type=1400 audit(1.000:1): apparmor="DENIED" operation="open" profile="odd name {x}" name=2F612062220A7B7D5B5D5E2A3F5C407B4142437DFF23 comm="x" requested_mask="wr" denied_mask="wr" fsuid=7 ouid=7
audit: type=1400 audit(1.000:2): apparmor="DENIED" operation="exec" profile=6F6464206E616D65207B787D name=2F2C20612C62 comm="x" requested_mask="x" denied_mask="x" fsuid=7 ouid=7
audit: type=1400 audit(1.000:3): apparmor="DENIED" operation="signal" profile="p" comm="x" requested_mask="send" denied_mask="send" signal=term peer=612028782920225D
audit: type=1400 audit(1.000:4): apparmor="DENIED" operation="open" profile="p" name="/v@{HOME}/**" comm="x" denied_mask="a" fsuid=7 ouid=0
audit: type=1400 audit(1.000:5): apparmor="DENIED" operation="create" class="net" profile="p" comm="x" family="unknown(99)" sock_type="unknown(9)" denied="create"
audit: type=1400 audit(1.000:6): apparmor="DENIED" operation="open" profile="p" name="/proc/77/task/78/fd/3" comm=0A7D2F2A2A2077782C denied_mask="r" fsuid=7 ouid=7
"#;

/// Suggests and parses; true when every suggestion was accepted.
pub(crate) fn run() -> Result<bool> {
    let tally = play()?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// Every log of the corpus, in every way of suggesting.
pub(crate) fn play() -> Result<Tally> {
    let userland = Userland::get()?;
    let build = Step { name: "building aa-monitor", way_out: "mend the code" };
    build.run(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package", "aa-monitor"])
            .current_dir(place::workspace()),
    )?;
    let hostile = place::lab().join("hostile.log");
    fs::write(&hostile, HOSTILE).context("writing a log")?;
    let mut logs = vec![hostile];
    for entry in fs::read_dir(place::workspace().join("tests/fixtures/records"))? {
        logs.push(entry?.path());
    }
    let mut tally = Tally::default();
    for log in logs {
        for abi in ["3.0", "4.0"] {
            for exec in ["ix", "cx", "px"] {
                for level in ["none", "full"] {
                    let mut suggest = Command::new(place::workspace().join("target/debug/aa-monitor"));
                    suggest
                        .arg("suggest")
                        .arg("--from")
                        .arg(&log)
                        .args(["--format", "profile", "--abi", abi]);
                    suggest
                        .args(["--exec", exec, "--generalise", level])
                        .arg("--include-dir")
                        .arg(userland.profiles());
                    let suggested = suggest.output().context("starting aa-monitor")?;
                    let path = place::lab().join("suggested.profile");
                    fs::write(&path, &suggested.stdout).context("writing a profile")?;
                    let mut parser = userland.parser();
                    parser
                        .args(["-QTK", "--config-file", "/dev/null", "--base"])
                        .arg(userland.profiles())
                        .arg(&path);
                    let parsed = parser.output().context("starting apparmor_parser")?;
                    // 2 says that something is missing; an empty suggestion would be accepted for nothing.
                    if suggested.status.code() == Some(2) && parsed.status.success() {
                        tally.passed += 1;
                        continue;
                    }
                    tally.failed += 1;
                    let said = String::from_utf8_lossy(&parsed.stderr);
                    println!("{} abi {abi} exec {exec} {level}: {}: {said}", log.display(), suggested.status);
                }
            }
        }
    }
    Ok(tally)
}
