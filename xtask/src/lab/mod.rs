//! The lab: a real kernel with AppArmor in QEMU, whatever this machine's own kernel can do.
//!
//! ```text
//! debian -> kernel ----------+
//!        -> userland -> image +-> qemu -> console lines -> verdict
//! cargo  -> programs --^
//! ```

pub(crate) mod console;
pub(crate) mod cpio;
pub(crate) mod debian;
pub(crate) mod image;
pub(crate) mod kernel;
pub(crate) mod live;
pub(crate) mod matrix;
mod podman;
pub(crate) mod programs;
pub(crate) mod qemu;
pub(crate) mod rig;
pub(crate) mod sre;
pub(crate) mod suite;
pub(crate) mod unpacked;
pub(crate) mod userland;
