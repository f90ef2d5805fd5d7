//! Packages survive everything that a kernel asks: it gets the files that it wants, and is believed nothing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| execnet::fuzz::packages(bytes));
