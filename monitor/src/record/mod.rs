//! What: from bytes to a [`Violation`]. Pure: takes bytes, does no I/O.

pub mod violation;

pub use violation::{AuditId, Class, Origin, Task, Verdict, Violation};
