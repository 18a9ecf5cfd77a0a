//! Loading the programs, for as long as this agent runs or behind pins that outlast it.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::Context as _;
use aya::maps::MapData;
use aya::programs::links::FdLink;
use aya::programs::{FEntry, FExit};
use aya::{Btf as AyaBtf, Ebpf as Object, EbpfLoader, Endianness};
use caps::Capability;

use super::attach::{
    EVENT_ANCHOR, EVENT_ANCHORS, EVENT_HOOK, EVENT_WAYS, STAMP_ANCHOR, STAMP_ANCHORS, STAMP_HOOK, STAMP_WAYS,
    TARGET_HOOKS, hook, identity_hooks, program, set_event_slot, set_stamp_slot,
};
use super::btf::{Btf, BtfError};
use super::offsets::{self, OffsetError};
use super::pins::{PinnedRing, Pins};
use super::silent::{self, Silent};
use crate::capture::privileges;
use crate::ledger::{Attached, Hook};
use crate::node::Hierarchy;
use crate::sys;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/aa-monitor.bpf.o"));

/// Which ways of attaching to try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// Trampolines (fentry, fexit), then kprobes.
    #[default]
    Auto,
    /// kprobes only: for kernels whose trampolines misbehave, and to measure the difference.
    Kprobe,
}

/// How to load the programs.
#[derive(Clone, Debug)]
pub struct EbpfOptions {
    /// Size of the ring; rounded up to a power of two of at least a page.
    pub ring_bytes: u32,
    /// Ways of attaching.
    pub attach: Attach,
    /// Which denials without a record to count.
    pub silent: Silent,
    /// Whose ids the cgroups in records are.
    pub cgroups: Hierarchy,
    /// Forward the programs' own log messages.
    pub log: bool,
    /// The folder in which to pin what outlives the agent; `None` to let everything end with it.
    pub pin_dir: Option<PathBuf>,
}

/// Why there is no eBPF source.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not describe its structures.
    #[error("{VMLINUX}: {0}: the kernel needs CONFIG_DEBUG_INFO_BTF so that its structures can be found")]
    NoBtf(io::Error),
    /// The description does not parse.
    #[error("{VMLINUX}: {0}")]
    Btf(#[from] BtfError),
    /// AppArmor's structures are not there.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// Capabilities are missing.
    #[error("not permitted to load eBPF programs: {0}")]
    NotPermitted(String),
    /// Kernel lockdown forbids it.
    #[error("kernel lockdown is in confidentiality mode, in which no program may read kernel memory")]
    Lockdown,
    /// Nothing reports violations.
    #[error("cannot hook {EVENT_HOOK}: {0}")]
    NoHook(String),
    /// aya's own error.
    #[error("loading the eBPF programs: {0:#}")]
    Load(anyhow::Error),
}

/// The loaded programs.
pub(super) struct Loaded {
    pub(super) object: Object,
    pub(super) hooks: Vec<Hook>,
    /// Whether records carry their audit stamp.
    pub(super) stamps: bool,
    /// The first programs at the two functions, of which the kernel counts how often it skipped them; none where
    /// kprobes do.
    pub(super) event_anchors: Vec<OwnedFd>,
    pub(super) stamp_anchors: Vec<OwnedFd>,
    /// When pinned: the rings of agents before, to which nothing is added any more.
    pub(super) before: Vec<(PinnedRing, MapData)>,
    /// Whether the programs were attached before this agent came.
    pub(super) adopted: bool,
    /// Whether the programs stay attached after it.
    pub(super) pinned: bool,
}

/// Loads and attaches the programs beside whatever runs, and takes them back: which hooks an agent would have.
pub fn try_out(cgroups: Hierarchy) -> Result<Vec<Hook>, LoadError> {
    let ring_bytes = ring_size(0);
    let options = EbpfOptions {
        ring_bytes,
        attach: Attach::Auto,
        silent: Silent::Off,
        cgroups,
        log: false,
        pin_dir: None,
    };
    unpinned(&Kernel::read(&options)?, &options).map(|loaded| loaded.hooks)
}

/// Loads the programs and attaches them; the first record can arrive before this returns.
pub(super) fn load(options: &EbpfOptions) -> Result<Loaded, LoadError> {
    let kernel = Kernel::read(options)?;
    let pins = options.pin_dir.as_deref().filter(|_| options.attach == Attach::Auto).and_then(|folder| {
        Pins::open(folder)
            .inspect_err(|error| {
                tracing::info!(
                    "not pinned, so what happens between two agents is known from logs only: {error}"
                );
            })
            .ok()
    });
    // Opened before anything is changed: whatever becomes of the pins, what is in these is not lost.
    let before = pins.as_ref().map(rings_before).unwrap_or_default();
    let loaded = match &pins {
        Some(pins) => {
            for folder in pins.remove_others() {
                tracing::warn!(
                    "{}: pinned by an agent of another make; detached and replaced",
                    folder.display()
                );
            }
            match pinned(&kernel, options, pins) {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::warn!(
                        "not pinned, so what happens between two agents is known from logs only: {error:#}"
                    );
                    if let Err(error) = pins.remove() {
                        tracing::warn!("what was pinned cannot be removed: {error}");
                    }
                    unpinned(&kernel, options)?
                }
            }
        }
        None => unpinned(&kernel, options)?,
    };
    drop(kernel);
    // From here on nothing is added to the rings before.
    if !before.is_empty()
        && let Err(error) = sys::wait_for_programs()
    {
        tracing::warn!("cannot tell when the programs of the agent before are done: {error}");
    }
    tell_programs(&loaded.object);
    sys::trim_heap();
    Ok(Loaded { before, ..loaded })
}

/// Tells what verifying each program took: it differs from kernel to kernel, and there is a limit to it.
fn tell_programs(object: &Object) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for (program, its) in object.programs() {
        // One that this agent has not loaded has none.
        let Ok(info) = its.info() else { continue };
        tracing::debug!(program, instructions = info.verified_instruction_count(), "verified by the kernel");
    }
}

/// What has to be known of the running kernel.
struct Kernel {
    layout: aa_monitor_ebpf::Layout,
    /// BTF in which there is nothing but the functions to hook.
    functions: Vec<u8>,
    silent: Vec<silent::Planned>,
}

impl Kernel {
    fn read(options: &EbpfOptions) -> Result<Self, LoadError> {
        let blob = fs::read(VMLINUX).map_err(LoadError::NoBtf)?;
        let btf = Btf::parse(&blob)?;
        let [kill, access, traceme] = TARGET_HOOKS;
        let silent = silent::plan(&btf, options.silent);
        let mut functions = vec![STAMP_HOOK, EVENT_HOOK, kill, access, traceme];
        functions.extend(silent.iter().map(|hook| hook.function));
        let functions = btf.functions(&functions);
        Ok(Self { layout: offsets::resolve(&btf, options.cgroups)?, functions, silent })
    }

    /// The functions as aya wants them: several megabytes, to be had only while programs are loaded.
    fn functions(&self) -> Result<AyaBtf, LoadError> {
        AyaBtf::parse(&self.functions, Endianness::default()).map_err(|error| explain(error.into()))
    }

    fn object(&self, options: &EbpfOptions, pins: &[(&'static str, PathBuf)]) -> Result<Object, LoadError> {
        let log_level: u8 = if options.log { u8::MAX } else { 0 };
        let silent = options.silent as u16;
        // Nothing in the object needs the kernel's types: the offsets come as constants. A new loader has parsed them
        // all (`EbpfLoader::new` in aya 0.14), which is what most memory is ever needed for; so they go first.
        let mut loader = EbpfLoader::new();
        loader
            .btf(None)
            .override_global("LAYOUT", bytemuck::bytes_of(&self.layout), true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .override_global("SILENT", &silent, true)
            .map_max_entries("EVENTS", ring_size(options.ring_bytes))
            .map_max_entries("TALLIES", silent::room(options.silent))
            .map_max_entries("REPORTED", silent::room(options.silent));
        for (map, path) in pins {
            loader.map_pin_path(map, path.clone());
        }
        loader.load(OBJECT).map_err(|error| explain(error.into()))
    }
}

/// The programs attached for as long as this agent runs, in whichever way this kernel can.
fn unpinned(kernel: &Kernel, options: &EbpfOptions) -> Result<Loaded, LoadError> {
    let mut object = kernel.object(options, &[])?;
    let btf = &kernel.functions()?;
    let mut hooks = identity_hooks(&mut object, btf, options.attach);
    // Stamps first: an event that is reported before its stamp can be noted would look like one that audit
    // never saw.
    let stamp_hook = hook(&mut object, btf, STAMP_HOOK, &STAMP_WAYS, options.attach);
    let event_hook = hook(&mut object, btf, EVENT_HOOK, &EVENT_WAYS, options.attach);
    if event_hook.attached == Attached::No {
        return Err(refused(event_hook.reason));
    }
    let stamps = stamp_hook.attached != Attached::No;
    let anchors = |name| {
        let fd =
            object.program(name).and_then(|program| program.fd().ok()?.as_fd().try_clone_to_owned().ok());
        fd.into_iter().collect()
    };
    let (event_anchors, stamp_anchors) = (anchors(EVENT_ANCHOR), anchors(STAMP_ANCHOR));
    hooks.extend([stamp_hook, event_hook]);
    hooks.extend(silent::attach(&mut object, btf, &kernel.silent));
    Ok(Loaded {
        object,
        hooks,
        stamps,
        event_anchors,
        stamp_anchors,
        before: Vec::new(),
        adopted: false,
        pinned: false,
    })
}

/// The programs behind anchors that stay attached, in this agent's stead and in the next one's.
fn pinned(kernel: &Kernel, options: &EbpfOptions, pins: &Pins) -> anyhow::Result<Loaded> {
    let ring = pins.next_ring();
    let result = pinned_with(kernel, options, pins, &ring);
    if result.is_err() {
        // Nobody writes there: the slots are set last.
        let _absent = fs::remove_file(&ring);
    }
    result
}

fn pinned_with(
    kernel: &Kernel,
    options: &EbpfOptions,
    pins: &Pins,
    ring: &std::path::Path,
) -> anyhow::Result<Loaded> {
    let mut object = kernel.object(
        options,
        &[
            ("EVENTS", ring.to_owned()),
            ("STAMPS", pins.path("stamps")),
            ("STAMP_PLACES", pins.path("stamp-places")),
            ("COUNTERS", pins.path("counters")),
            ("STAMP_SLOT", pins.path("stamp-slot")),
            ("EVENT_SLOT", pins.path("event-slot")),
            ("TOLD", pins.path("told")),
            ("TOLD_PLACES", pins.path("told-places")),
        ],
    )?;
    let btf = &kernel.functions()?;
    let mut hooks = identity_hooks(&mut object, btf, options.attach);
    set_stamp_slot(&mut object, btf).context("loading the program for audit_pre")?;
    set_event_slot(&mut object, btf).context("loading the program for common_lsm_audit")?;

    // The slots are set: an anchor that is attached from now on leads somewhere.
    let there = |anchors: &[(&str, &str)]| anchors.iter().all(|(_, link)| pins.path(link).exists());
    let (stamps, events) = (there(&STAMP_ANCHORS), there(&EVENT_ANCHORS));
    let (stamp_anchor, event_anchor) = (pins.path("stamp-anchor"), pins.path("event-anchor"));
    // All of them, in their order: half of a set is the work of an agent that was killed.
    if !stamps {
        remove(pins, &STAMP_ANCHORS);
        for (name, link) in STAMP_ANCHORS {
            let anchor: &mut FEntry = program(&mut object, name)?;
            anchor.load(STAMP_HOOK, btf).with_context(|| format!("loading {name}"))?;
            if name == STAMP_ANCHOR {
                let _absent = fs::remove_file(&stamp_anchor);
                anchor.pin(&stamp_anchor)?;
            }
            let id = anchor.attach().with_context(|| format!("attaching {name}"))?;
            let attached: FdLink = anchor.take_link(id)?.into();
            attached.pin(pins.path(link))?;
        }
    }
    if !events {
        remove(pins, &EVENT_ANCHORS);
        for (name, link) in EVENT_ANCHORS {
            let anchor: &mut FExit = program(&mut object, name)?;
            anchor.load(EVENT_HOOK, btf).with_context(|| format!("loading {name}"))?;
            if name == EVENT_ANCHOR {
                let _absent = fs::remove_file(&event_anchor);
                anchor.pin(&event_anchor)?;
            }
            let id = anchor.attach().with_context(|| format!("attaching {name}"))?;
            let attached: FdLink = anchor.take_link(id)?.into();
            attached.pin(pins.path(link))?;
        }
    }
    let adopted = stamps && events;
    let stamp_anchor = sys::open_pin(&stamp_anchor).context("opening the anchor of stamps")?;
    let event_anchor = sys::open_pin(&event_anchor).context("opening the anchor of violations")?;
    let hook = |function, attached| Hook { function, attached, reason: String::new() };
    hooks.extend([hook(STAMP_HOOK, Attached::Fentry), hook(EVENT_HOOK, Attached::Fexit)]);
    hooks.extend(silent::attach(&mut object, btf, &kernel.silent));
    Ok(Loaded {
        event_anchors: vec![event_anchor],
        stamp_anchors: vec![stamp_anchor],
        object,
        hooks,
        stamps: true,
        before: Vec::new(),
        adopted,
        pinned: true,
    })
}

fn remove(pins: &Pins, anchors: &[(&str, &str)]) {
    for (_, link) in anchors {
        let _absent = fs::remove_file(pins.path(link));
    }
}

/// The rings that agents before have pinned. One whose records this agent cannot read is said and removed.
fn rings_before(pins: &Pins) -> Vec<(PinnedRing, MapData)> {
    let mut rings = Vec::new();
    for ring in pins.rings_of_others().into_iter().chain(pins.rings()) {
        match MapData::from_pin(&ring.path) {
            Ok(map) => rings.push((ring, map)),
            Err(error) => tracing::warn!("{}: {error}", ring.path.display()),
        }
    }
    rings
}

fn explain(error: anyhow::Error) -> LoadError {
    privilege_problem().unwrap_or(LoadError::Load(error))
}

fn refused(reason: String) -> LoadError {
    privilege_problem().unwrap_or(LoadError::NoHook(reason))
}

/// What most likely keeps programs from loading, if anything does.
fn privilege_problem() -> Option<LoadError> {
    let missing = privileges::missing(&[Capability::CAP_BPF, Capability::CAP_PERFMON]);
    if !missing.is_empty() {
        return Some(LoadError::NotPermitted(format!(
            "{} missing; without the eBPF source, violations that audit drops or never writes stay unseen",
            missing.join(" and ")
        )));
    }
    let lockdown = fs::read_to_string(LOCKDOWN).unwrap_or_default();
    lockdown.contains("[confidentiality]").then_some(LoadError::Lockdown)
}

fn ring_size(asked: u32) -> u32 {
    const PAGE: u32 = 4096;
    const LARGEST: u32 = 1 << 31;
    asked.clamp(PAGE, LARGEST).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::ring_size;

    #[test]
    fn ring_sizes_are_powers_of_two() {
        for (asked, want) in [(0, 4096), (4096, 4096), (4097, 8192), (8 << 20, 8 << 20), (u32::MAX, 1 << 31)]
        {
            assert_eq!(ring_size(asked), want, "{asked}");
        }
    }
}
