//! QUIC between quinn's client and quinn's server.

mod peer;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use peer::Peer;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{ClientConfig, ServerConfig};
use rcgen::CertificateParams;
use rustls::version::TLS13;

use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen, https};

pub const SCENARIO: Scenario = Scenario {
    name: "quic",
    about: "A client asks for some pages over QUIC; the server has it show its address first; then the client's port changes.",
    play: |network| {
        let [client, server] = network.pair(Wire::new(Duration::from_millis(10)))?;
        let (server_config, client_config) = configurations(&[PROTOCOL])?;
        let at = server.at(443)?;
        let mut there = Peer::server(&server, at, server_config, true)?;
        let mut here = Peer::client(&client, client.at(50_000)?, client_config, at, NAME)?;
        thread::scope(|scope| {
            let server = scope.spawn(move || there.serve(&[b'.'; PAGE]));
            here.established()?;
            for page in 0..PAGES {
                if page == MOVES_BEFORE {
                    here.rebind(client.at(50_001)?)?;
                }
                let answer = here.ask(b"GET /\r\n")?;
                ensure!(answer.len() == PAGE, "the answer has {} octets", answer.len());
            }
            here.close()?;
            server.join().map_err(|_| anyhow!("the server panicked"))?
        })
    },
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 443,
        connections: 1,
        must: Conditions(&[
            ("transport", "quic"),
            ("conn_state", "SF"),
            ("history", "Dd"),
            ("client.port", "50000"),
            ("bytes.server", ">= 20000"),
            ("protocol", "quic"),
            ("name.name", NAME),
            ("tls.sni", NAME),
            ("tls.established", "true"),
            ("quic.version", "v1"),
            ("quic.retry.genuine", "true"),
            ("quic.round_trips", "2"),
            ("quic.handshake_ns", ">= 40000000"),
            ("quic.moves.0.client.port", "50001"),
            ("quic.undecrypted", "0"),
        ]),
    }],
};

pub const REFUSED: Scenario = Scenario {
    name: "quic-refused",
    about: "A client asks over QUIC for a protocol that the server does not speak.",
    play: |network| {
        let [client, server] = network.pair(Wire::new(Duration::from_millis(10)))?;
        let (_, client_config) = configurations(&[PROTOCOL])?;
        let (server_config, _) = configurations(&["other"])?;
        let at = server.at(443)?;
        let mut there = Peer::server(&server, at, server_config, false)?;
        let mut here = Peer::client(&client, client.at(50_000)?, client_config, at, NAME)?;
        thread::scope(|scope| {
            // That its handshake fails is what it is here for.
            let server = scope.spawn(move || there.serve(&[]).is_err());
            let reason = here.lost()?;
            ensure!(reason.contains("120"), "closed for another reason: {reason}");
            server.join().map_err(|_| anyhow!("the server panicked"))?;
            Ok(())
        })
    },
    thresholds: &[],
    findings: &["tls-alert"],
    seen: &[Seen {
        server_port: 443,
        connections: 1,
        must: Conditions(&[
            ("transport", "quic"),
            ("conn_state", "SF"),
            ("quic.close.from", "server"),
            ("quic.close.code", "376"),
            ("quic.close.name", "no_application_protocol"),
            ("tls.alerts.0.description", "no_application_protocol"),
        ]),
    }],
};

const NAME: &str = "server.lab";

/// The application protocol, which is no more than a line there and a page back.
const PROTOCOL: &str = "page";

/// Octets of a page, how many are asked for, and how many of them before the client's port changes.
const PAGE: usize = 4000;
const PAGES: usize = 8;
const MOVES_BEFORE: usize = 6;

/// What both ends need: a key, a certificate that the client trusts, and the protocols that they speak.
fn configurations(protocols: &[&str]) -> Result<(ServerConfig, ClientConfig)> {
    let certificate = CertificateParams::new([NAME.to_owned()]).context("naming the certificate")?;
    let (mut server, mut client) = https::configurations(&TLS13, certificate)?;
    let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::make_mut(&mut server).alpn_protocols.clone_from(&protocols);
    Arc::make_mut(&mut client).alpn_protocols = protocols;
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    Ok((server, ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?))))
}
