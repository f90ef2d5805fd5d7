//! The command against real ssh hosts, as a person would run it.

mod asks;
mod attempts;
mod clients;
mod commands;
mod completions;
mod copy;
mod drain;
mod ends;
mod exec;
mod harness;
mod hops;
mod join;
mod kept;
mod kept_terminal;
mod login;
mod man;
mod packages;
mod person;
mod process;
mod ps;
mod resume;
mod run;
mod sets;
mod terminal;
mod top;
mod trust;
