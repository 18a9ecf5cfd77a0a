//! syslog and dmesg, from the first byte of the tag on.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::framed(b"Jan  1 12:00:00 host ", data, b"");
});
