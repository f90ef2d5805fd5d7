//! execnet
