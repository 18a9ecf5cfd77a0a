//! A kubelet behind TLS: whom the agent believes, and to whom it shows its token.
//!
//! By the real clock: a handshake takes a moment in which nothing else happens.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aa_monitor::identity::pods::{Options, Pods, Source, Trust, start, try_out};
use aa_monitor_tests::apiserver::pod::Pod;
use aa_monitor_tests::apiserver::{ApiServer, Resource};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::id;

/// Somebody who signs certificates: its own, as PEM, and what it signs with.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (pem, Issuer::new(params, key))
}

/// Serves TLS for `name`, signed by `issuer`, in front of a server that does not.
async fn front(to: SocketAddr, name: &str, issuer: &Issuer<'static, KeyPair>) -> String {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    serve(to, &certificate, &key).await
}

/// The same with a certificate that vouches for itself, as PEM, too.
async fn self_signed(to: SocketAddr, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("signed");
    (serve(to, &certificate, &key).await, certificate.pem())
}

async fn serve(to: SocketAddr, certificate: &Certificate, key: &KeyPair) -> String {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a certificate and its key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepting = TlsAcceptor::from(Arc::new(config.clone())).accept(stream);
            tokio::spawn(async move {
                // A client that does not believe it hangs up.
                let Ok(mut inner) = accepting.await else { return };
                let Ok(mut outer) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    url
}

/// A service account whose cluster is vouched for by `ca`.
fn account(ca: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("token"), "secret").expect("written");
    if let Some(ca) = ca {
        fs::write(folder.path().join("ca.crt"), ca).expect("written");
    }
    folder
}

fn options(url: &str, account: &Path, ca: Option<&Path>, insecure: bool) -> Options {
    Options {
        source: Some(Source::Kubelet),
        node_name: Some("node-1".into()),
        kubelet_url: Some(url.to_owned()),
        kubelet_trust: Trust {
            ca: ca.map(Path::to_owned),
            insecure,
            service_account: Some(account.to_owned()),
        },
        ..Options::default()
    }
}

/// What becomes of it: the pods are known, or the source has failed.
async fn known(pods: &Pods) -> bool {
    let decided = async {
        while pods.present() == 0 && pods.failures() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), decided).await.expect("it is decided");
    pods.present() == 1
}

#[tokio::test]
async fn the_token_goes_to_a_kubelet_that_has_proved_to_be_one() {
    let server = ApiServer::spawn().expect("a port");
    server.require_token(Some("secret"));
    server.apply(&Resource::PODS, Pod::new("shop", "web", "u").container("app", &id('a')).json());
    let ((cluster, issuer), (_, stranger)) = (authority(), authority());
    let kubelet = front(server.address(), "127.0.0.1", &issuer).await;
    let impostor = front(server.address(), "127.0.0.1", &stranger).await;
    let elsewhere = front(server.address(), "node-2", &issuer).await;
    let (with_ca, without) = (account(Some(&cluster)), account(None));
    let named = with_ca.path().join("ca.crt");
    for (name, url, account, ca, insecure, want) in [
        ("the cluster's own certificate", &kubelet, &with_ca, None, false, true),
        ("a named one", &kubelet, &without, Some(&*named), false, true),
        ("nothing to verify by", &kubelet, &without, None, false, false),
        ("signed by a stranger", &impostor, &with_ca, None, false, false),
        ("of another name", &elsewhere, &with_ca, None, false, false),
        ("a stranger, as was asked for", &impostor, &without, None, true, true),
        ("not encrypted", &server.url(), &with_ca, None, false, false),
        ("not encrypted, as was asked for", &server.url(), &with_ca, None, true, true),
    ] {
        let before = server.requests().len();
        let pods = start(options(url, account.path(), ca, insecure));
        assert_eq!(known(&pods).await, want, "{name}");
        // Whoever has not proved anything has heard of no token.
        let shown = server.requests().iter().skip(before).any(|r| r.headers.contains_key("authorization"));
        assert_eq!(shown, want, "{name}");
    }
}

#[tokio::test]
async fn a_kubelet_that_vouches_for_itself_is_refused_with_both_ways_out_and_each_works() {
    let server = ApiServer::spawn().expect("a port");
    server.require_token(Some("secret"));
    server.apply(&Resource::PODS, Pod::new("shop", "web", "u").container("app", &id('a')).json());
    let (cluster, _) = authority();
    let account = account(Some(&cluster));
    let (url, pem) = self_signed(server.address(), "127.0.0.1").await;
    let own = account.path().join("kubelet.crt");
    fs::write(&own, pem).expect("written");

    let refused = try_out(&options(&url, account.path(), None, false)).await.expect_err("refused");
    assert!(refused.message.contains("certificate"), "{refused:?}");
    let way_out = refused.way_out.expect("a way out");
    assert!(way_out.contains("--kubelet-ca") && way_out.contains("--kubelet-insecure"), "{way_out}");
    assert!(server.requests().is_empty(), "it has heard of no token");

    for (name, ca, insecure) in [("--kubelet-ca", Some(&*own), false), ("--kubelet-insecure", None, true)] {
        let (node, pods) = try_out(&options(&url, account.path(), ca, insecure)).await.expect(name);
        assert_eq!((&*node, pods), ("node-1", 1), "{name}");
    }
}
