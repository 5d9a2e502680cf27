#![no_main]
//! Tries `bodies::http_range`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::http_range(bytes));
