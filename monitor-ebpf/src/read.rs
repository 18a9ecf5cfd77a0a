//! Reading kernel memory at offsets that are known at load time.

use core::cell::UnsafeCell;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel as probe_read_kernel;

use aa_monitor_ebpf::ABSENT;

/// The offset that the running kernel has for a member.
macro_rules! layout {
    ($member:ident) => {
        crate::read::constant(&crate::LAYOUT.$member)
    };
}
pub(crate) use layout;

/// Reads a constant that the agent replaces before the program is loaded: volatile, because the compiler
/// would otherwise fold in the value of build time.
#[inline(always)]
pub(crate) fn constant(offset: &'static u16) -> u16 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::read_volatile(offset) }
}

/// The `T` at `base + offset`; `None` when the kernel has no such member or the address is not readable.
#[inline(always)]
pub(crate) fn at<T: Copy>(base: u64, offset: u16) -> Option<T> {
    if offset == ABSENT || base == 0 {
        return None;
    }
    // SAFETY: the helper checks the address and fails rather than fault.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// Fills `to` from `address`; false when that is not readable.
#[inline(always)]
pub(crate) fn bytes(address: u64, to: &mut [u8]) -> bool {
    // SAFETY: `to` is writable for its length; the helper checks the source address.
    unsafe { probe_read_kernel(to.as_mut_ptr().cast(), to.len() as u32, address as *const _) == 0 }
}

/// A kernel structure of which the verifier knows what it is: its members are loaded, with an instruction
/// each, where others have to be asked for by a call.
#[derive(Clone, Copy)]
pub(crate) struct Known(*const u8);

/// The current task.
#[inline(always)]
pub(crate) fn current() -> Known {
    // SAFETY: no arguments; from 5.11.
    Known(unsafe { bpf_get_current_task_btf() }.cast::<u8>().cast_const())
}

impl Known {
    /// An argument of a hooked function.
    #[inline(always)]
    pub(crate) fn new(argument: *const u8) -> Self {
        Self(argument)
    }

    /// The `T` at `offset`.
    #[inline(always)]
    pub(crate) fn get<T: Copy>(self, offset: u16) -> Option<T> {
        if offset == ABSENT {
            return None;
        }
        // SAFETY: a member of the structure by the running kernel's own BTF, which the verifier checks
        // again; a fault while loading it reads as 0.
        Some(unsafe { self.0.add(offset as usize).cast::<T>().read() })
    }

    /// The structure that the member at `offset` points to.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u16) -> Option<Self> {
        self.get(offset).map(Self)
    }
}

/// A word that is shared with the programs' runs on other CPUs.
pub(crate) struct Word(UnsafeCell<u64>);

// SAFETY: every access is one instruction on an aligned word.
unsafe impl Sync for Word {}

impl Word {
    pub(crate) const ZERO: Self = Self(UnsafeCell::new(0));

    /// Where it is; valid for reads and writes.
    #[inline(always)]
    pub(crate) fn get(&self) -> *mut u64 {
        self.0.get()
    }
}
