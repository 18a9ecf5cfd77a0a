//! A record of the eBPF ring.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::wire(data);
});
