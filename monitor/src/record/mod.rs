//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod companions;
pub mod framing;
pub mod parse;
pub mod sender;
pub mod violation;
pub mod words;

mod class;
mod fields;
mod find;
mod format;
mod hex;
mod label;
mod line;
mod log;
mod packed;
mod wire;

pub use class::classify;
pub use companions::Companions;
pub use format::format;
pub use label::{OPERATIONS, OTHER_OPERATION, operation_label, profile_base};
pub use line::{parse_line, parse_message};
pub(crate) use log::Each;
pub use log::Log;
pub(crate) use packed::Packed;
pub(crate) use parse::split_stamp;
pub use parse::{ParseError, Reason};
pub use sender::{Sender, Senders};
pub use violation::{AuditId, Class, Origin, Target, Task, Verdict, Violation};
pub use wire::{CgroupChange, WireError, decode_cgroup, decode_wire, wire_stamp};
