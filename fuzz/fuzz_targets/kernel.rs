//! A gateway survives everything that its kernel sends, and keeps count of what it holds.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| execnet::fuzz::kernel(bytes));
