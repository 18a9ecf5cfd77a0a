//! auditd's file.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::framed(b"type=AVC msg=audit(1.002:3): ", data, b"");
});
