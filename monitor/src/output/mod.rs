//! The world: what becomes of an event that is counted once.

mod escape;
pub mod metrics;
