//! Gateways over real interpreters: children of this program, and nodes of a network of this machine.

mod callbacks;
mod copies;
mod copies_spare;
mod ends;
mod hostile;
mod kept;
mod network;
mod output;
mod packages;
mod pressure;
mod support;
mod talk;
