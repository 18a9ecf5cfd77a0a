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
            let way_out = way_out(self.source, failure).map(|way| format!("; {way}")).unwrap_or_default();
            tracing::warn!(source, "cannot {verb} pods, will try again: {failure}{way_out}");
            self.told = Some(what);
        }
        if !harmless {
            self.pods.set_up(false);
        }
    }
}

/// What the user can do.
pub(super) fn way_out(source: Source, failure: &Failure) -> Option<&'static str> {
    Some(match (failure.kind(), source) {
        (401, _) => "its token is not accepted: does the service account exist, is the token mounted?",
        (403, Source::Api) => "allow its service account to list and watch pods, or --pod-source none",
        (403, Source::Kubelet) => {
            "allow its service account to get nodes/pods (before Kubernetes 1.33: nodes/proxy), or --pod-source none"
        }
        (404, Source::Api) => "is this address an API server's?",
        (404, Source::Kubelet) => "is this address a kubelet's (--kubelet-url)?",
        // By rustls, of a certificate that nobody vouches for, or of another name.
        (0, Source::Kubelet) if is_about_its_certificate(failure) => {
            "name those who vouch for it with --kubelet-ca (a kubelet that signs its own certificate keeps it in \
             /var/lib/kubelet/pki/kubelet.crt), or do without with --kubelet-insecure"
        }
        (0, Source::Api) if is_about_its_certificate(failure) => {
            "does certificate-authority in the kubeconfig, or ca.crt of the service account, belong to this cluster?"
        }
        (0, _) => "is it reachable from here? --pod-source none does without",
        _ => return None,
    })
}

fn is_about_its_certificate(failure: &Failure) -> bool {
    matches!(failure, Failure::Broken(text) if text.contains("certificate"))
}
