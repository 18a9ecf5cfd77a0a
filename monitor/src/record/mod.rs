//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod companions;
pub mod framing;
pub mod parse;
pub mod sender;
pub mod violation;
pub mod words;

mod class;
mod fields;
mod hex;
mod label;
mod lanes;
mod line;
mod wire;

pub use class::classify;
pub use companions::Companions;
pub use label::{OPERATIONS, OTHER_OPERATION, operation_label, profile_base};
pub use line::{parse_line, parse_message};
pub use parse::{ParseError, Reason};
pub use sender::{Sender, Senders};
pub use violation::{AuditId, Class, Origin, Task, Verdict, Violation};
pub use wire::{WireError, decode_wire};
