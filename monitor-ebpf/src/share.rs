//! Who may have the ring when it is filling up: not only the one that fills it.
//!
//! A ring that is drained in time is everybody's. Once half of it waits to be read, a cgroup may add so many
//! records in each second and no more; what is over is counted, not sent. A container that raises violations
//! as fast as it can then loses its own, and its neighbours' still find room.

use aya_ebpf::helpers::generated::bpf_ringbuf_query;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;

use crate::EVENTS;

/// What a cgroup sent in the current second.
#[repr(C)]
#[derive(Clone, Copy)]
struct Share {
    /// Which second, counted in units of 2^30 ns since boot.
    second: u32,
    sent: u32,
}

/// Shares by cgroup id. A node has a few hundred cgroups; an entry that is forgotten starts anew.
#[map]
static SHARES: LruHashMap<u64, Share> = LruHashMap::with_max_entries(4096, 0);

/// Records a second and cgroup once half of the ring is unread.
const CROWDED: u32 = 256;
/// And once three quarters are: room for every container of a node.
const NEARLY_FULL: u32 = 16;

// linux/bpf.h
const BPF_RB_AVAIL_DATA: u64 = 0;
const BPF_RB_RING_SIZE: u64 = 1;

/// Whether the record of a task in this cgroup has to stay out, because the ring is filling up and the cgroup
/// has had its share of it.
#[inline(always)]
pub(crate) fn used_up(cgroup: u64, now: u64) -> bool {
    let unread = query(BPF_RB_AVAIL_DATA);
    let size = query(BPF_RB_RING_SIZE);
    if unread < size / 2 {
        return false;
    }
    let limit = if unread < size / 4 * 3 { CROWDED } else { NEARLY_FULL };
    let second = (now >> 30) as u32;
    if let Some(share) = SHARES.get_ptr_mut(&cgroup) {
        // SAFETY: an entry of the map. Other CPUs may write it too: a share is then a few records off, which
        // matters less than what an atomic operation on each record would cost.
        unsafe {
            if (*share).second == second {
                if (*share).sent >= limit {
                    return true;
                }
                (*share).sent += 1;
                return false;
            }
        }
    }
    // Without room for a share there is no limit.
    let _full = SHARES.insert(&cgroup, &Share { second, sent: 1 }, 0);
    false
}

#[inline(always)]
fn query(what: u64) -> u64 {
    // SAFETY: aya's map is `repr(transparent)` over the definition that the helper wants.
    unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), what) }
}
