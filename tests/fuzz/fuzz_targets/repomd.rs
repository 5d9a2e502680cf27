#![no_main]
//! Tries `bodies::repomd`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::repomd(bytes));
