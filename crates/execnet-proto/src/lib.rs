//! The language that the parts of an execnet network speak.

pub mod control;
pub mod spec;
