//! aa-monitor: counts what AppArmor denies, and names the workload.
//!
//! The folders are the stages of the way an event takes; nothing imports a later stage:
//!
//! ```text
//! capture -> record -> identity -> merge -> output
//! kernel     what      who         once     metrics, JSON, table
//! ```
//!
//! Around them: [`node`] and [`cluster`] (how the node's containers are confined, and who is told), [`cli`]
//! and [`config`] (what was asked for), [`ledger`] (what was lost), [`state`] (what one agent leaves to the
//! next), [`shutdown`] (when to stop), [`check`] (what works on this node) and [`agent`], which starts and stops the stages.

pub mod agent;
pub mod capture;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod identity;
pub mod ledger;
pub mod logging;
pub mod merge;
pub mod node;
pub mod output;
pub mod pipeline;
pub mod record;
pub mod replay;
pub mod shutdown;
pub mod state;
pub mod suggest;
mod sys;

pub use agent::run;
pub use sys::tame_heap;
