//! aa-monitor: counts what AppArmor denies, and names the workload.
//!
//! The folders are the stages of the way an event takes:
//!
//! ```text
//! capture -> record -> merge -> output
//! kernel     what      once     metrics, JSON, table
//! ```

pub mod record;
