//! Old output of a terminal that is shown again asks nothing and sets no title, whatever it is.
#![no_main]

#[path = "../../crates/execnet-cli/src/terminal"]
#[allow(dead_code)]
mod terminal {
    pub(crate) mod fuzz;
    mod modes;
    mod replay;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| terminal::fuzz::replay(bytes));
