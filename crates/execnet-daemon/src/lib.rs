//! execnet-daemon
