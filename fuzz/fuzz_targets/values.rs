//! Any bytes are a value or refused, in memory of their own size. A value that was read survives writing and
//! reading.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| execnet::fuzz::values(bytes));
