//! Tries `bodies::node`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::node(bytes));
