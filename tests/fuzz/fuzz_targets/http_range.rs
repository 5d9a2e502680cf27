//! Tries `bodies::http_range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::http_range(bytes));
