//! eBPF
pub mod btf;
