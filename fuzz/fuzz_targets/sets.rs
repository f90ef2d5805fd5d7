//! Any text is a set of nodes of bounded size or refused, and survives reading, writing and folding.
#![no_main]

#[path = "../../crates/execnet-proto/tests/common/texts.rs"]
#[allow(dead_code)]
mod texts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| texts::sets(bytes));
