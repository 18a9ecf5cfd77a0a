//! `cargo xtask suggestions`: what is suggested for the recorded corpus is what AppArmor's parsers accept, and
//! no more rules than aa-logprof has for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::userland::Userland;
use crate::place;
use crate::step::Step;
use crate::vm::Tally;

mod debian12;
mod logprof;

use debian12::Debian12;

/// Names that a program may choose, and that nothing in a profile may take for anything but a name.
const HOSTILE: &str = r#"audit: type=1400 audit(1.000:1): apparmor="DENIED" operation="open" profile="odd name {x}" name=2F612062220A7B7D5B5D5E2A3F5C407B4142437DFF23 comm="x" requested_mask="wr" denied_mask="wr" fsuid=7 ouid=7
audit: type=1400 audit(1.000:2): apparmor="DENIED" operation="exec" profile=6F6464206E616D65207B787D name=2F2C20612C62 comm="x" requested_mask="x" denied_mask="x" fsuid=7 ouid=7
audit: type=1400 audit(1.000:3): apparmor="DENIED" operation="signal" profile="p" comm="x" requested_mask="send" denied_mask="send" signal=term peer=612028782920225D
audit: type=1400 audit(1.000:4): apparmor="DENIED" operation="open" profile="p" name="/v@{HOME}/**" comm="x" denied_mask="a" fsuid=7 ouid=0
audit: type=1400 audit(1.000:5): apparmor="DENIED" operation="create" class="net" profile="p" comm="x" family="unknown(99)" sock_type="unknown(9)" denied="create"
audit: type=1400 audit(1.000:6): apparmor="DENIED" operation="open" profile="p" name="/proc/77/task/78/fd/3" comm=0A7D2F2A2A2077782C denied_mask="r" fsuid=7 ouid=7
"#;

/// The subcommand: true when every suggestion was accepted.
pub(crate) fn run() -> Result<bool> {
    let tally = play()?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// A parser, with the profiles that it came with.
struct Parser {
    name: &'static str,
    start: Box<dyn Fn() -> Command>,
    profiles: PathBuf,
    /// What it knows.
    abis: &'static [&'static str],
}

/// Every log of the corpus, in every way of suggesting, to every parser; and to aa-logprof.
pub(crate) fn play() -> Result<Tally> {
    let (userland, debian) = (Userland::get()?, Debian12::get()?);
    let build = Step { name: "building aa-monitor", way_out: "mend the code" };
    build.run(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package", "aa-monitor"])
            .current_dir(place::workspace()),
    )?;
    let mut recorded = Vec::new();
    for entry in fs::read_dir(place::workspace().join("tests/fixtures/records"))? {
        recorded.push(entry?.path());
    }
    recorded.sort();
    let mut tally = Tally::default();
    for log in &recorded {
        logprof::compare(&debian, log, &mut tally)?;
    }
    let hostile = place::lab().join("hostile.log");
    fs::write(&hostile, HOSTILE).context("writing a log")?;
    let logs: Vec<_> = [hostile].into_iter().chain(recorded).collect();
    let (old, new) = (debian.profiles(), userland.profiles());
    let parsers = [
        Parser { name: "3.0.8", start: Box::new(move || debian.parser()), profiles: old, abis: &["3.0"] },
        Parser {
            name: "4.1",
            start: Box::new(move || userland.parser()),
            profiles: new,
            abis: &["3.0", "4.0"],
        },
    ];
    for parser in &parsers {
        ensure_judges(parser)?;
        for log in &logs {
            parser.judge(log, &mut tally)?;
        }
    }
    Ok(tally)
}

/// Says that a parser refuses what is no profile; else it would accept suggestions for nothing.
fn ensure_judges(parser: &Parser) -> Result<()> {
    let path = place::lab().join("suggested.profile");
    fs::write(&path, "profile p { /x nonsense, }\n").context("writing a profile")?;
    let (accepted, said) = parser.accepts(&path)?;
    ensure!(!accepted && said.contains("syntax error"), "parser {} accepts nonsense: {said}", parser.name);
    Ok(())
}

impl Parser {
    fn accepts(&self, profile: &Path) -> Result<(bool, String)> {
        let mut parser = (self.start)();
        parser.args(["-QTK", "--config-file", "/dev/null", "--base"]).arg(&self.profiles).arg(profile);
        let parsed = parser.output().context("starting apparmor_parser")?;
        Ok((parsed.status.success(), String::from_utf8_lossy(&parsed.stderr).into_owned()))
    }

    fn judge(&self, log: &Path, tally: &mut Tally) -> Result<()> {
        for abi in self.abis {
            for exec in ["ix", "cx", "px"] {
                for level in ["none", "full"] {
                    let mut suggest = Command::new(place::workspace().join("target/debug/aa-monitor"));
                    suggest
                        .arg("suggest")
                        .arg("--from")
                        .arg(log)
                        .args(["--format", "profile", "--abi", abi])
                        .args(["--exec", exec, "--generalise", level])
                        .arg("--include-dir")
                        .arg(&self.profiles);
                    let suggested = suggest.output().context("starting aa-monitor")?;
                    let path = place::lab().join("suggested.profile");
                    fs::write(&path, &suggested.stdout).context("writing a profile")?;
                    let (accepted, said) = self.accepts(&path)?;
                    // 2 says that something is missing; an empty suggestion would be accepted for nothing.
                    if suggested.status.code() == Some(2) && accepted {
                        tally.passed += 1;
                        continue;
                    }
                    tally.failed += 1;
                    let (log, name, status) = (log.display(), self.name, suggested.status);
                    println!("{log} abi {abi} exec {exec} {level}: parser {name}: {status}: {said}");
                }
            }
        }
        Ok(())
    }
}
