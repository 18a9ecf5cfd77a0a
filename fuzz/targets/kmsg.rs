//! /dev/kmsg.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::framed(b"5,374,2492764,-;audit: type=1400 audit(1.002:3): ", data, b"");
});
