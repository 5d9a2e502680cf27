//! Tries `bodies::file_list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::file_list(bytes));
