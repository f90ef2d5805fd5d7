//! Whatever a host says that files are fetched from, nothing is touched outside the folder of its own.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| execnet::fuzz::fetch(bytes));
