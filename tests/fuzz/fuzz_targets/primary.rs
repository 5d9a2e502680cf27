#![no_main]
//! Tries `bodies::primary`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::primary(bytes));
