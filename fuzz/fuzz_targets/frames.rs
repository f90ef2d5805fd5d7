//! Any bytes are frames or refused, and a frame survives encoding and decoding.
#![no_main]

#[path = "../../crates/execnet-proto/tests/common/frames.rs"]
#[allow(dead_code)]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(frames::again(bytes)));
