//! What an agent leaves to the next one in its state directory: who it is, and what it had printed.
//!
//! The directory is optional. Without it nothing tells two agents apart, and one that is killed may print a
//! few events that its successor prints again; both are said at the start.

mod checkpoint;
mod journal;
mod lock;

pub use checkpoint::{Checkpoint, Since, Whose};
pub use journal::{Entry, Journal, Left};
pub use lock::{Lock, LockError};
