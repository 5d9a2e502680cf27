#![no_main]
//! Tries `bodies::http_path`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::http_path(bytes));
