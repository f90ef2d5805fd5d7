//! Gateways over real interpreters: children of this program, and nodes of a network of this machine.

mod callbacks;
mod ends;
mod network;
mod output;
mod pressure;
mod support;
mod talk;
