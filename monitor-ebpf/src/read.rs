//! Reading kernel memory at offsets that are known at load time.

use aya_ebpf::helpers::bpf_probe_read_kernel;
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
