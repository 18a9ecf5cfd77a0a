//! aa-monitor: counts what AppArmor denies, and names the workload.
//!
//! The folders are the stages of the way an event takes; nothing imports a later stage:
//!
//! ```text
//! capture -> record -> merge -> output
//! kernel     what      once     metrics, JSON, table
//! ```

pub mod capture;
pub mod ledger;
pub mod merge;
pub mod record;
mod sys;
