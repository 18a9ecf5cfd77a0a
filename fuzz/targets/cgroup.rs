//! The path of a cgroup, and a file of such paths.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::cgroup(data);
});
