#![no_main]
//! Tries `bodies::node`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::node(bytes));
