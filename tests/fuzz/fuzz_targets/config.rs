#![no_main]
//! Tries `bodies::config`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::config(bytes));
