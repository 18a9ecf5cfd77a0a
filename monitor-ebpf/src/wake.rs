//! Whether the agent is woken for a violation.
//!
//! A wake-up happens where the record is added, inside of the program: a kernel that preempts tasks gives the CPU to
//! the agent there and then, and until the violating task has it again, the program is skipped on that CPU. So an
//! agent that has much to read says that it looks by itself, and is left to it.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

/// Not 0 while the agent looks at the ring by itself.
#[map]
static LOOKING: Array<u32> = Array::with_max_entries(1, 0);

/// How to add a violation to the ring: by default the kernel wakes a reader that has read all before it.
#[inline(always)]
pub(crate) fn flags() -> u64 {
    // SAFETY: one aligned word of the map.
    let looking = LOOKING.get_ptr(0).is_some_and(|value| unsafe { value.read_volatile() } != 0);
    if looking { u64::from(BPF_RB_NO_WAKEUP) } else { 0 }
}
