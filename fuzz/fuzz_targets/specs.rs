//! Any text is a host spec, a selection or refused, and survives writing and reading.
#![no_main]

#[path = "../../crates/execnet-proto/tests/common/texts.rs"]
#[allow(dead_code)]
mod texts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| texts::specs(bytes));
