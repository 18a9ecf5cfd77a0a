//! From the records of a log to a profile.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aa_monitor_fuzz::suggestion(data));
