//! The eBPF source: loads the programs with the running kernel's offsets and drains their ring.

mod attach;
pub mod btf;
mod load;
mod offsets;
mod pins;
mod reader;
mod ring;
mod silent;
mod wakeups;

pub use load::{Attach, EbpfOptions, LoadError, try_out};
pub use pins::{PinsError, detach};
pub use ring::Ebpf;
pub use silent::Silent;
