//! Tries `bodies::primary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::primary(bytes));
