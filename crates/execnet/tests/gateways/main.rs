//! Gateways over real interpreters: children of this program, and nodes of a network of this machine.

mod callbacks;
mod copies;
mod copies_spare;
mod ends;
mod hostile;
mod network;
mod output;
mod packages;
mod pressure;
mod support;
mod talk;
