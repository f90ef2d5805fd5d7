//! execnet-testkit
