//! A log as a stream: whatever the pieces in which it arrives, the same is read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((size, log)) = data.split_first() {
        aa_monitor_fuzz::log(log, usize::from(*size).max(1));
    }
});
