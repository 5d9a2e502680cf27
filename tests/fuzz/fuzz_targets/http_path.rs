//! Tries `bodies::http_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::http_path(bytes));
