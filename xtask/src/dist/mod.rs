//! `cargo xtask dist`: what is shipped: one static binary, a container image around it, and its bill of materials.

mod image;
mod sbom;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::place;
use crate::setup;
use crate::step::Step;

/// Builds the static binary, the container image and the bill of materials into target/dist.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to build for.
    #[arg(long, value_enum, default_value = "amd64")]
    arch: Arch,
    /// The profile; `lab` builds faster and larger.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// An architecture, as images call it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The linker, where it is not the machine's own.
    fn linker(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some("aarch64-linux-gnu-gcc"),
        }
    }
}

/// What was built.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) binary: PathBuf,
    /// The image's archive.
    pub(crate) image: PathBuf,
}

/// The subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    build(arguments)?;
    Ok(true)
}

/// What is shipped for amd64.
pub(crate) fn amd64() -> Result<Shipped> {
    build(&Arguments { arch: Arch::Amd64, profile: "release".to_owned() })
}

/// Builds all three and tells their sizes.
fn build(arguments: &Arguments) -> Result<Shipped> {
    setup::build()?;
    let binary = binary(arguments)?;
    let arch = arguments.arch.as_str();
    let folder = place::workspace().join("target/dist");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let shipped = folder.join(format!("aa-monitor-{arch}"));
    fs::copy(&binary, &shipped).with_context(|| format!("copying {}", binary.display()))?;
    let archive = folder.join(format!("aa-monitor-{arch}.oci.tar"));
    let image = image::write(&fs::read(&shipped)?, arch, &archive)?;
    let materials = folder.join(format!("aa-monitor-{arch}.cdx.json"));
    let crates = sbom::write(arguments.arch.target(), &materials)?;
    for path in [&shipped, &archive, &materials] {
        let size = fs::metadata(path)?.len();
        println!("{:>9.2} MiB  {}", size as f64 / f64::from(1 << 20), path.display());
    }
    println!("image {} is {}; {crates} crates are linked into the binary", image.reference, image.digest);
    Ok(Shipped { binary: shipped, image: archive })
}

/// The binary, linked statically: the C library that it would find in an image from scratch is none.
fn binary(arguments: &Arguments) -> Result<PathBuf> {
    let Arguments { arch, profile } = arguments;
    let target = arch.target();
    let way_out = match arch {
        Arch::Amd64 => "mend the code above, or `cargo xtask setup` when a tool is missing",
        Arch::Arm64 => {
            "`rustup target add aarch64-unknown-linux-gnu` and a cross linker (Debian: \
             apt-get install gcc-aarch64-linux-gnu)"
        }
    };
    let mut settings = vec![format!(r#"target.{target}.rustflags=["-C","target-feature=+crt-static"]"#)];
    settings.extend(arch.linker().map(|linker| format!("target.{target}.linker={linker:?}")));
    let folder = place::workspace().join("target/guest");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--package", "aa-monitor", "--bin", "aa-monitor"]);
    command.args(["--profile", profile, "--target", target, "--target-dir"]).arg(&folder);
    command.args(settings.iter().flat_map(|setting| ["--config", setting])).current_dir(place::workspace());
    let step = Step { name: &format!("building the static binary for {}", arch.as_str()), way_out };
    step.run(&mut command)?;
    Ok(folder.join(target).join(profile).join("aa-monitor"))
}
