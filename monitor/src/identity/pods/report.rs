//! What is said of a source of pods: once when it fails, once when it works again.

use std::sync::Arc;

use super::request::Failure;
use super::{Pods, Source};

/// Keeps the log short and the state true.
pub(super) struct Report {
    source: Source,
    pods: Arc<Pods>,
    /// What was told last, if it does not work.
    told: Option<(&'static str, u16)>,
    worked: bool,
}

impl Report {
    pub(super) fn new(source: Source, pods: Arc<Pods>) -> Self {
        Self { source, pods, told: None, worked: false }
    }

    /// It has answered.
    pub(super) fn works(&mut self) {
        self.pods.set_up(true);
        if self.told.take().is_some() || !self.worked {
            tracing::info!(source = self.source.as_str(), "pods are known by name");
        }
        self.worked = true;
    }

    /// It has not, and will be asked again.
    pub(super) fn failed(&mut self, verb: &'static str, failure: &Failure) {
        self.pods.failed();
        let what = (verb, failure.kind());
        // A version that is too old is the server's right, and a lost connection is found again in a moment.
        let harmless = match failure {
            Failure::Gone => true,
            Failure::Broken(_) => verb == "watch",
            Failure::Refused { .. } => false,
        };
        if harmless || self.told == Some(what) {
            tracing::debug!(source = self.source.as_str(), "cannot {verb} pods: {failure}");
        } else {
            let source = self.source.as_str();
            tracing::warn!(source, "cannot {verb} pods, will try again: {failure}{}", way_out(failure));
            self.told = Some(what);
        }
        if !harmless {
            self.pods.set_up(false);
        }
    }
}

/// What the user can do.
fn way_out(failure: &Failure) -> &'static str {
    match failure.kind() {
        401 => "; its token is not accepted: does the service account exist, is the token mounted?",
        403 => {
            "; allow its service account to list and watch pods (for --pod-source kubelet: get nodes/proxy)"
        }
        404 => "; is this address an API server's?",
        0 => "; is it reachable from here? --pod-source none does without",
        _ => "",
    }
}
