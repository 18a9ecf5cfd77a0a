//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod parse;
pub mod violation;

mod class;
mod fields;
mod hex;

pub use parse::{ParseError, parse_payload};
pub use violation::{AuditId, Class, Origin, Task, Verdict, Violation};
