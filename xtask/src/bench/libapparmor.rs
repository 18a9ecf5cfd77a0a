//! The program around libapparmor's record parser, built from the sources of Debian's package: the release
//! of the lab's userland, because the one before 4.0 refuses every record that has a `class=`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::debian::Apt;
use crate::place;
use crate::setup::packages;
use crate::step::{self, Step};

const TOOLS: [packages::Package; 3] = [("bison", "bison"), ("flex", "flex"), ("gcc", "gcc")];
const DRIVER: &str = "bench/libapparmor.c";

/// Where the library's sources are, and its version.
#[derive(Debug)]
pub(crate) struct Library {
    folder: PathBuf,
    /// As its upstream calls it.
    pub(crate) version: String,
}

impl Library {
    /// Fetches the sources when they are not here yet. Debian's patches do not touch the parser, so
    /// upstream's archive is all that is needed.
    pub(crate) fn get() -> Result<Self> {
        let fetched = place::bench().join("libapparmor");
        if !fetched.exists() {
            Apt::fresh()?.source("libapparmor's sources", "apparmor", "trixie", &fetched)?;
        }
        let name = "apparmor-";
        let entries = fs::read_dir(&fetched).with_context(|| format!("reading {}", fetched.display()))?;
        let folder = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let folder = folder.into_iter().find(|folder| folder.starts_with(name)).with_context(|| {
            format!("there are no sources in {}; delete it to fetch them again", fetched.display())
        })?;
        let version = folder.trim_start_matches(name).to_owned();
        Ok(Self { folder: fetched.join(folder), version })
    }

    /// Builds the program unless it is newer than its source.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        packages::bring(&TOOLS)?;
        let out = place::bench().join("libapparmor-bench");
        let driver = place::workspace().join(DRIVER);
        if newer(&out, &driver) {
            return Ok(out);
        }
        let sources = self.folder.join("libraries/libapparmor");
        let made = place::bench().join("libapparmor-made");
        fs::create_dir_all(&made).with_context(|| format!("making {}", made.display()))?;
        let step = Step {
            name: "building libapparmor's parser",
            way_out: "delete target/bench to fetch its sources again",
        };
        let run = |command: &mut Command| step.run(command.current_dir(&made));
        step::write(&made.join("af_protos.h"), protocols(&step)?)?;
        let prefix = ["-Wno-yacc", "-d", "-p", "aalogparse_", "-o", "grammar.c"];
        run(Command::new("bison").args(prefix).arg(sources.join("src/grammar.y")))?;
        run(Command::new("flex").args(["-o", "scanner.c"]).arg(sources.join("src/scanner.l")))?;
        run(Command::new("gcc")
            .args(["-O2", "-w", "-D_GNU_SOURCE", "-I."])
            .arg("-I")
            .arg(sources.join("include"))
            .arg("-I")
            .arg(sources.join("src"))
            .args(["grammar.c", "scanner.c"])
            .arg(sources.join("src/libaalogparse.c"))
            .arg(driver)
            .arg("-o")
            .arg(&out))?;
        Ok(out)
    }
}

/// What its makefile generates with sed: `AA_GEN_PROTO_ENT(IPPROTO_TCP, "tcp")` for each protocol.
fn protocols(step: &Step<'_>) -> Result<String> {
    let input = place::bench().join("libapparmor-made/protocols.c");
    step::write(&input, "#include <netinet/in.h>\n")?;
    let macros = step.run(Command::new("gcc").args(["-E", "-dD"]).arg(input))?;
    let names = macros.lines().filter_map(|line| {
        let name = line.strip_prefix("#define IPPROTO_")?.split(' ').next()?;
        (name != "MAX").then(|| format!("AA_GEN_PROTO_ENT(IPPROTO_{name}, \"{}\")\n", name.to_lowercase()))
    });
    Ok(names.collect())
}

fn newer(made: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    time(made).is_some_and(|made| time(source).is_some_and(|source| made > source))
}
