//! Tries `bodies::commit_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::commit_file(bytes));
