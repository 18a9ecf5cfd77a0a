//! How large the eBPF programs are, as they were linked.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _, SymbolKind};

use super::compare::Counts;
use crate::place;

/// An instruction's size (linux/bpf.h: `struct bpf_insn`).
const INSTRUCTION: u64 = 8;

/// The instructions of each function of the object that was built last: programs, and what they call.
pub(crate) fn sizes() -> Result<Counts> {
    // As monitor/build.rs has it.
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| place::workspace().join("target"), PathBuf::from);
    let path = target.join("ebpf/bpfel-unknown-none/release/aa-monitor-ebpf");
    let what = || format!("reading {}", path.display());
    functions(&fs::read(&path).with_context(what)?).with_context(what)
}

fn functions(bytes: &[u8]) -> Result<Counts> {
    let file = object::File::parse(bytes)?;
    let mut sizes = Counts::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
    {
        let name = plain(symbol.name()?);
        ensure!(symbol.size() % INSTRUCTION == 0, "{name} has {} bytes", symbol.size());
        let twice = sizes.insert(name.clone(), symbol.size() / INSTRUCTION);
        ensure!(twice.is_none(), "there are two functions called {name}");
    }
    ensure!(!sizes.is_empty(), "there is no function in it");
    Ok(sizes)
}

/// A name without what is mangled into it: the hash of the crate differs from folder to folder. A path of Rust's v0
/// mangling is a crate and words, each behind its length ("RFC 2603"): `_RNvNtC<hash>_5crate6module8function`.
fn plain(name: &str) -> String {
    let words = || {
        let (_, mut rest) = name.strip_prefix("_R")?.split_once('_')?;
        let mut words = Vec::new();
        while !rest.is_empty() {
            let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
            let (length, from) = rest.split_at_checked(digits)?;
            // A word that begins with a digit or an underscore has one in front.
            let from = from.strip_prefix('_').unwrap_or(from);
            let (word, after) = from.split_at_checked(length.parse().ok()?)?;
            words.push(word);
            rest = after;
        }
        Some(words.get(1..)?.join("::"))
    };
    words().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use object::write::{Object, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

    use super::{functions, plain};

    #[test]
    fn names_do_not_depend_on_the_folder() {
        for (name, want) in [
            ("memcpy", "memcpy"),
            (
                "_RNvNtNtCseg1mP4YFTRo_15aa_monitor_ebpf6silent5hooks12check_denied",
                "silent::hooks::check_denied",
            ),
            ("_RNvCsabc_15aa_monitor_ebpf4emit", "emit"),
            ("_Rcut_15short", "_Rcut_15short"),
        ] {
            assert_eq!(plain(name), want);
        }
    }

    /// An object with functions of these sizes.
    fn made(of: &[(&str, u64)]) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let section = object.add_section(Vec::new(), b"fexit/x".to_vec(), SectionKind::Text);
        for (name, size) in of {
            let value = object.append_section_data(section, &vec![0; *size as usize], 8);
            object.add_symbol(Symbol {
                name: name.as_bytes().to_vec(),
                value,
                size: *size,
                kind: SymbolKind::Text,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        }
        object.write().unwrap()
    }

    #[test]
    fn each_function_has_its_instructions() {
        for (name, of, want) in [
            ("two", &[("a", 80), ("b", 8)][..], Some(vec![("a".to_owned(), 10), ("b".to_owned(), 1)])),
            ("half an instruction", &[("a", 12)][..], None),
            ("one name twice", &[("a", 8), ("a", 16)][..], None),
            ("nothing", &[][..], None),
        ] {
            let got = functions(&made(of)).ok().map(|sizes| sizes.into_iter().collect::<Vec<_>>());
            assert_eq!(got, want, "{name}");
        }
        assert!(functions(b"no object").is_err());
    }
}
