//! Tries `bodies::repomd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::repomd(bytes));
