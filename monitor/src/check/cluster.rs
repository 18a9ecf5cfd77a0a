//! Those whom the agent talks to: Prometheus on its port, the API server or the kubelet.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Finding;
use crate::agent::pod_options;
use crate::config::Config;
use crate::identity::pods::{self, NoAnswer, Source};

/// A server that says nothing for so long is of no use.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// More than an agent's answer to be recognised by.
const ANSWER_MOST: u64 = 64 << 10;

/// Whether metrics can be served, or are.
pub(super) async fn port(config: &Config) -> Finding {
    let address = config.listen;
    match TcpListener::bind(address).await {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(_) if an_agent_answers(config).await => {
            Finding::ok("port", format!("{address} is served by an agent"))
        }
        Err(error) => Finding::fail(
            "port",
            format!("{address} cannot be listened on: {error}"),
            "name another address with --listen, or end what holds it (ss -ltnp)",
        ),
    }
}

async fn an_agent_answers(config: &Config) -> bool {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MOST).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER_LIMIT, asked).await;
    matches!(answer, Ok(Ok(answer)) if bstr::ByteSlice::contains_str(&*answer, "aa-monitor"))
}

/// Whether pods can be known by name.
pub(super) async fn pods(config: &Config) -> Option<Finding> {
    let options = pod_options(config);
    let check = match options.source? {
        Source::Api => "api server",
        Source::Kubelet => "kubelet",
    };
    let asked = timeout(ANSWER_LIMIT, pods::try_out(&options)).await;
    let silent = || NoAnswer { message: format!("no answer within {ANSWER_LIMIT:?}"), way_out: None };
    let asked = asked.unwrap_or_else(|_| Err(silent()));
    Some(match asked {
        Ok((node, 0)) => Finding::warn(
            check,
            format!("answers, and knows no pod on node {node}: this agent's own would be one"),
            "see that the node's name is right: --node-name, or NODE_NAME from spec.nodeName",
        ),
        Ok((node, count)) => Finding::ok(check, format!("answers: pods on node {node}: {count}")),
        Err(NoAnswer { message, way_out }) => Finding::warn(
            check,
            format!("{message}: events carry the container's id and no names"),
            way_out.unwrap_or("see that it can be reached from here; --pod-source none does without names"),
        ),
    })
}
