//! The journal as JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::framed(br#"{"_TRANSPORT":"kernel","SYSLOG_FACILITY":"0","#, data, b"}");
    aa_monitor_fuzz::framed(b"{", data, b"}");
});
