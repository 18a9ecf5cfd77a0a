//! What the lab's two sides agree on: the lines on the serial console, the fixed list of violations, and
//! how the counters of a scrape are read.
//!
//! The programs that run inside the guest are in `src/bin`: `guest-init` is its pid 1, `provoke` performs
//! mediated operations under a profile. `apiserver` is the Kubernetes API server that an agent is shown.

pub mod acts;
pub mod apiserver;
pub mod contract;
pub mod scrape;
