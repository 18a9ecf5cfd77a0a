//! A whole line in any framing.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::framed(b"", data, b"");
});
