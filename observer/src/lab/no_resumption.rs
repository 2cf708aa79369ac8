//! TLS sessions that are never used again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcgen::CertificateParams;
use rustls::client::Resumption;
use rustls::version;

use super::https::{NAME, configurations, exchange};
use super::network::Network;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "no-resumption",
    about: "A client makes six TLS connections to one server. The server gives it tickets, and it uses none of them: each \
            handshake is a full one.",
    play,
    thresholds: &[],
    findings: &["no-resumption"],
    seen: &[Seen {
        server_port: 443,
        connections: CONNECTIONS,
        must: Conditions(&[("conn_state", "SF"), ("tls.resumed", "false"), ("tls.established", "true")]),
    }],
};

const CONNECTIONS: usize = 6;

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let certificate = CertificateParams::new([NAME.to_owned()]).context("naming the certificate")?;
    let (server_config, mut client_config) = configurations(&version::TLS13, certificate)?;
    Arc::make_mut(&mut client_config).resumption = Resumption::disabled();
    let listener = server.listen(server.at(443)?)?;
    for _ in 0..CONNECTIONS {
        let here = client.connect(server.at(443)?)?;
        let there = listener.accept()?;
        exchange([here, there], Arc::clone(&server_config), Arc::clone(&client_config))?;
    }
    Ok(())
}
