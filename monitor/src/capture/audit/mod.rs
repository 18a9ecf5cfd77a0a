//! The audit stream: the netlink multicast group that carries every audit record, with and without auditd.

mod netns;
mod socket;
mod status;
mod stream;

pub use socket::OpenError;
pub use stream::{AuditOptions, AuditStream, split_record};
