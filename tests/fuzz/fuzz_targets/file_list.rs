#![no_main]
//! Tries `bodies::file_list`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::file_list(bytes));
