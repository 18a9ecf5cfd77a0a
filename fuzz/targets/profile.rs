//! The reader of profiles.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aa_monitor_fuzz::profile(data));
