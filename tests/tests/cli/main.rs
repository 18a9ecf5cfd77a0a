//! The command line, the configuration and the agent's life, on a machine that need not have AppArmor.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says by panicking what it expected"
)]

mod agent;
mod check;
mod configuration;
mod corpus;
mod kubernetes;
mod live;
mod pods;
mod replay;
mod running;
