#![no_main]
//! Tries `bodies::commit_file`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::commit_file(bytes));
