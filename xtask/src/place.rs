//! Where things are.

use std::path::PathBuf;

/// The workspace's root folder.
pub(crate) fn workspace() -> PathBuf {
    // xtask is always built from source, in the workspace that it works on.
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Tools built or fetched for this workspace alone.
pub(crate) fn tools() -> PathBuf {
    workspace().join("target/tools")
}

/// Logs to measure on, bench programs and their results.
pub(crate) fn bench() -> PathBuf {
    workspace().join("target/bench")
}

/// Everything of the lab: package lists, kernels, the guest's programs, images, logs.
pub(crate) fn lab() -> PathBuf {
    workspace().join("target/lab")
}

/// Fuzz programs, their seeds and corpora, and what they found.
pub(crate) fn fuzz() -> PathBuf {
    workspace().join("target/fuzz")
}
