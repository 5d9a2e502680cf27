#![no_main]
//! Tries `bodies::rpm_header`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::rpm_header(bytes));
