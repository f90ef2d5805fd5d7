//! The language that the parts of an execnet network speak.

pub mod spec;
