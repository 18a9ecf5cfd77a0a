//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod parse;
pub mod violation;
pub mod words;

mod class;
mod fields;
mod hex;
mod label;
mod wire;

pub use class::classify;
pub use label::{OPERATIONS, OTHER_OPERATION, operation_label, profile_base};
pub use parse::{ParseError, parse_payload};
pub use violation::{AuditId, Class, Origin, Task, Verdict, Violation};
pub use wire::{WireError, decode_wire};
