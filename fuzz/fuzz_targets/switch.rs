//! A switch survives everything that hosts and clients do and send.
#![no_main]

#[path = "../../crates/execnet-proto/tests/common/frames.rs"]
#[allow(dead_code)]
mod frames;
#[path = "../../crates/execnet-proto/tests/common/operations.rs"]
#[allow(dead_code)]
mod operations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| operations::switch(bytes));
