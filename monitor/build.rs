//! Builds the programs of `monitor-ebpf` and puts the object where `capture::ebpf` includes it from.
//!
//! The nested cargo has its own folder below the target directory, shared by all profiles of the agent. Two
//! ways give it a `core` for the BPF target: the toolchain's own source (component rust-src), or a compiler
//! that ships it prebuilt (Debian's rustc-web). `cargo xtask setup` brings whichever can be had.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "aa-monitor-ebpf";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    if let Err(why) = build() {
        for line in why.lines() {
            println!("cargo::error={line}");
        }
        exit(1);
    }
}

/// Where `core` for the BPF target comes from.
enum Core {
    /// Built from the toolchain's source.
    Source,
    /// Prebuilt, with this compiler.
    Prebuilt(&'static str),
}

fn build() -> Result<(), String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().ok_or("the agent's folder has no parent")?;
    let programs = workspace.join("monitor-ebpf");
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let tools = workspace.join("target/tools/bin");
    println!("cargo:rerun-if-changed={}", programs.join("src").display());
    println!("cargo:rerun-if-changed={}", programs.join("Cargo.toml").display());
    println!("cargo:rerun-if-env-changed=CARGO_TARGET_DIR");

    let core = core()?;
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut path = vec![tools.clone()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    if !path.iter().any(|dir| dir.join("bpf-linker").is_file()) {
        return Err(format!(
            "building the eBPF programs needs bpf-linker, which is neither in {} nor on PATH\n\
             run `cargo xtask setup` to install it, or build with --no-default-features (audit source only)",
            tools.display()
        ));
    }

    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--package", "aa-monitor-ebpf", "--bin", OBJECT, "--features", "ebpf"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(target_dir.join("ebpf"))
        .env("PATH", env::join_paths(path).map_err(|e| format!("PATH: {e}"))?)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            ["-Clinker=bpf-linker", "-Clink-arg=--btf", &format!("--cfg=bpf_target_arch=\"{arch}\"")]
                .join("\x1f"),
        )
        // aya-ebpf uses inline assembly that is not stable for this target.
        .env("RUSTC_BOOTSTRAP", "1")
        // BTF is made from debug information; the rest of the workspace's release profile is for user space.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    // What the outer cargo says of the agent's own compiler must not reach the programs'.
    for key in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(key);
    }
    match core {
        Core::Source => drop(cargo.arg("-Zbuild-std=core")),
        Core::Prebuilt(rustc) => drop(cargo.env("RUSTC", rustc)),
    }
    let output = cargo.output().map_err(|e| format!("{cargo:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "building the eBPF programs failed: {cargo:?}\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let object = target_dir.join("ebpf").join(TARGET).join("release").join(OBJECT);
    let out = PathBuf::from(variable("OUT_DIR")?).join("aa-monitor.bpf.o");
    let built = fs::read(&object).map_err(|e| format!("reading {}: {e}", object.display()))?;
    let stripped = strip(&built).map_err(|e| format!("stripping {}: {e}", object.display()))?;
    fs::write(&out, stripped).map_err(|e| format!("writing {}: {e}", out.display()))
}

/// The object without the debug information from which its BTF was made: four fifths of it, whose every relocation
/// the loader would read.
fn strip(object: &[u8]) -> Result<Vec<u8>, object::build::Error> {
    let mut elf = Builder::read(object)?;
    for section in &mut elf.sections {
        let name = section.name.as_slice();
        section.delete = name.strip_prefix(b".rel").unwrap_or(name).starts_with(b".debug_");
    }
    elf.delete_orphans();
    // LLVM puts the names of sections beside those of symbols; the writer wants them in a table of their own.
    let names = elf.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    Ok(stripped)
}

fn core() -> Result<Core, String> {
    let rustc = variable("RUSTC")?;
    if sysroot(&rustc).is_some_and(|dir| dir.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()) {
        return Ok(Core::Source);
    }
    if sysroot(DEBIAN_RUSTC).is_some_and(|dir| dir.join("lib/rustlib").join(TARGET).is_dir()) {
        return Ok(Core::Prebuilt(DEBIAN_RUSTC));
    }
    Err(format!(
        "building the eBPF programs needs `core` for {TARGET}: neither does {rustc} have the component rust-src, \
         nor does {DEBIAN_RUSTC} have it prebuilt\n\
         run `cargo xtask setup`, or `rustup component add rust-src`, or on Debian \
         `apt-get install rustc-web libstd-rust-web-dev-bpf`"
    ))
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| Path::new(text.trim()).to_path_buf())
}

fn variable(key: &str) -> Result<String, String> {
    env::var(key).map_err(|e| format!("{key}: {e}"))
}
