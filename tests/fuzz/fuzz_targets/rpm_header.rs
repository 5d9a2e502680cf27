//! Tries `bodies::rpm_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::rpm_header(bytes));
