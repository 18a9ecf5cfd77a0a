//! The audit stream: the netlink multicast group that carries every audit record, with and without auditd.

mod netns;
mod settings;
mod socket;
mod status;
mod stream;

pub use settings::{Settings, settings};
pub use socket::{OpenError, try_out};
pub use stream::{AuditOptions, AuditStream, split_record};
