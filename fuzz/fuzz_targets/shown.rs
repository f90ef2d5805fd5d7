//! Whatever a host writes, nothing of it can steer a terminal.
#![no_main]

#[path = "../../crates/execnet-proto/tests/common/texts.rs"]
#[allow(dead_code)]
mod texts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| texts::shown(bytes));
