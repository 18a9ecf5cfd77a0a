//! The audit socket: a payload that the kernel sent.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::message(1400, data);
    aa_monitor_fuzz::message(1400, &[b"audit(1.002:3): ", data].concat());
});
