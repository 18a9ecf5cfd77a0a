//! The audit socket: what a process sent, with the kernel's word about the process before it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    aa_monitor_fuzz::message(1107, &[b"audit(1.002:3): ", data].concat());
    aa_monitor_fuzz::message(
        1107,
        &[b"audit(1.002:3): pid=1 uid=0 subj=unconfined msg='", data, b"'"].concat(),
    );
});
