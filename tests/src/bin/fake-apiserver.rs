//! The tests' API server as a program: `fake-apiserver [ADDRESS:PORT]`, 127.0.0.1:6443 unless said otherwise.
//!
//! Pods are added as to a real one (`curl -d @pod.json http://127.0.0.1:6443/api/v1/namespaces/default/pods`),
//! faults through `/_faults`; `/_requests` tells what was asked.

use std::net::SocketAddr;

use aa_monitor_tests::apiserver::ApiServer;
use anyhow::{Context, Result};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6443".to_owned());
    let address: SocketAddr = address.parse().with_context(|| format!("{address} is no address and port"))?;
    let server = ApiServer::start_at(address)?;
    println!("serving {}", server.url());
    loop {
        std::thread::park();
    }
}
