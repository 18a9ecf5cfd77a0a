//! The journal's export format.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::framed(b"_TRANSPORT=kernel\nSYSLOG_FACILITY=0\n", data, b"\n\n");
    aa_monitor_fuzz::log(data, 7);
});
