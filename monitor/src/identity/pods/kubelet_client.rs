//! The connection to the node's kubelet, and to whom the agent's token is shown.
//!
//! The token opens the API server, so it goes to nobody who has not proved to be the kubelet: a process that
//! takes the port while the kubelet restarts would have it otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use kube::config::AuthInfo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Where a pod finds its service account. The token is read again every minute: it rotates.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How the kubelet is known to be the kubelet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates of those who may vouch for it, as PEM; the cluster's own when `None`.
    pub ca: Option<PathBuf>,
    /// It need not prove anything.
    pub insecure: bool,
    /// Where the service account is, if not where pods have it.
    pub service_account: Option<PathBuf>,
}

/// A client of the kubelet at `url`.
///
/// Plain HTTP proves nothing: there the token is shown only when that was said to be all right.
pub(super) fn client(url: &str, trust: &Trust) -> anyhow::Result<kube::Client> {
    let what = || format!("{url} is no kubelet's address");
    let account = trust.service_account.as_deref().unwrap_or(Path::new(SERVICE_ACCOUNT));
    let mut config = kube::Config::new(url.parse().with_context(what)?);
    config.default_retry = false;
    let encrypted = config.cluster_url.scheme_str() == Some("https");
    config.root_cert = Some(match encrypted && !trust.insecure {
        true => certificates(trust.ca.as_deref(), account)?,
        // Nothing will be verified, and a host without any certificate has none to look for.
        false => Vec::new(),
    });
    config.accept_invalid_certs = trust.insecure;
    let token = account.join("token");
    if (encrypted || trust.insecure) && token.exists() {
        let token = token.to_str().context("the path of the service account's token")?.to_owned();
        config.auth_info = AuthInfo { token_file: Some(token), ..AuthInfo::default() };
    }
    kube::Client::try_from(config).with_context(what)
}

fn certificates(named: Option<&Path>, account: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = named.map_or_else(|| account.join("ca.crt"), Path::to_owned);
    if named.is_none() && !path.exists() {
        bail!(
            "nothing to verify the kubelet's certificate by: name a --kubelet-ca, or do without with \
             --kubelet-insecure"
        );
    }
    let what = || format!("cannot use the certificates in {}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    let found = read.map_err(|error| anyhow::anyhow!("{error}")).with_context(what)?;
    ensure!(!found.is_empty(), "there is no certificate in {}", path.display());
    Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_certificate_to_verify_by_there_is_no_client() {
        let folder = tempfile::tempdir().unwrap();
        let account = Some(folder.path().to_owned());
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate\n").unwrap();
        for (name, ca, part) in [
            ("none", None, "--kubelet-insecure"),
            ("not there", Some(folder.path().join("absent")), "absent"),
            ("none in it", Some(empty), "there is no certificate in"),
        ] {
            let trust = Trust { ca, insecure: false, service_account: account.clone() };
            let error = client("https://127.0.0.1:10250", &trust).err().expect("refused");
            assert!(format!("{error:#}").contains(part), "{name}: {error:#}");
        }
    }
}
