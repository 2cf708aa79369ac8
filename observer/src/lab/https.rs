//! HTTP over TLS, with a certificate made for the occasion.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, KeyLog, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion, version,
};

use super::network::Network;
use super::network::capture::Capture;
use super::network::traffic::{answer, ask, close, read_answer};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "https",
    about: "A client asks for a page over TLS 1.3.",
    play: |network| play(network, &version::TLS13),
    thresholds: &[],
    findings: &[],
    seen: SEEN,
};

pub const TLS12: Scenario = Scenario {
    name: "https-tls12",
    about: "A client asks for a page over TLS 1.2.",
    play: |network| play(network, &version::TLS12),
    thresholds: &[],
    findings: &[],
    seen: SEEN,
};

pub const KEYS: Scenario = Scenario {
    name: "https-keys",
    about: "A client asks for two pages over TLS 1.3 and changes its key in between; the secrets are in the capture.",
    play: play_with_keys,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 443,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("protocol", "http"),
            ("via.0", "tls"),
            ("http.responses", "2"),
            ("tls.alpn", "http/1.1"),
            ("tls.certificates.0.subject", "CN=rcgen self signed cert"),
            ("tls.decryption.key_updates.client", "1"),
            ("tls.decryption.unopened.client", "0"),
            ("tls.decryption.unopened.server", "0"),
            ("tls.close_notify.client", "true"),
            ("exchanges.entries.0.path", "/first"),
            ("exchanges.entries.1.path", "/second"),
            ("exchanges.entries.1.response_bytes", "20000"),
        ]),
    }],
};

const SEEN: &[Seen] = &[Seen {
    server_port: 443,
    connections: 1,
    must: Conditions(&[
        ("conn_state", "SF"),
        ("history", "ShADadFf"),
        ("bytes.client", ">= 350"),
        ("bytes.server", ">= 2500"),
        ("close.first", "client"),
        ("tcp_state.client", "TIME-WAIT"),
    ]),
}];

/// The name that certificates are for.
pub const NAME: &str = "server.lab";

fn play(network: &mut Network, version: &'static SupportedProtocolVersion) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let (server_config, client_config) =
        configurations(version, CertificateParams::new([NAME.to_owned()]).context("naming the certificate")?)?;
    let listener = server.listen(server.at(443)?)?;
    let here = client.connect(server.at(443)?)?;
    let there = listener.accept()?;
    exchange([here, there], server_config, client_config)
}

/// One request and its answer over TLS, on a connection whose ends these are.
pub fn exchange([here, there]: [TcpStream; 2], server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Result<()> {
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(there, server, &[2000]));
        let name = ServerName::try_from(NAME)?;
        let mut stream = StreamOwned::new(ClientConnection::new(client, name)?, here);
        ask(&mut stream, "/")?;
        read_answer(&mut stream)?;
        stream.conn.send_close_notify();
        stream.conn.write_tls(&mut stream.sock).context("saying goodbye")?;
        let there = serving.join().map_err(|_| anyhow!("the server panicked"))??;
        close(stream.sock, there)
    })
}

fn play_with_keys(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let (mut server_config, mut client_config) =
        configurations(&version::TLS13, CertificateParams::new([NAME.to_owned()]).context("naming the certificate")?)?;
    let protocols = vec![b"http/1.1".to_vec()];
    let (server_side, client_side) = (Arc::make_mut(&mut server_config), Arc::make_mut(&mut client_config));
    (server_side.alpn_protocols, client_side.alpn_protocols) = (protocols.clone(), protocols);
    // Of both ends the server makes the secrets first: they stand before what they open.
    server_side.key_log = Arc::new(Secrets(network.capture()));
    let listener = server.listen(server.at(443)?)?;
    let here = client.connect(server.at(443)?)?;
    let there = listener.accept()?;
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(there, server_config, &[2000, 20_000]));
        let name = ServerName::try_from(NAME)?;
        let mut stream = StreamOwned::new(ClientConnection::new(client_config, name)?, here);
        ask(&mut stream, "/first")?;
        read_answer(&mut stream)?;
        stream.conn.refresh_traffic_keys()?;
        ask(&mut stream, "/second")?;
        read_answer(&mut stream)?;
        stream.conn.send_close_notify();
        stream.conn.write_tls(&mut stream.sock).context("saying goodbye")?;
        let there = server.join().map_err(|_| anyhow!("the server panicked"))??;
        close(stream.sock, there)
    })
}

/// Writes what rustls logs into the capture.
#[derive(Debug)]
struct Secrets(Arc<Capture>);

impl KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        self.0.secrets(&format!("{label} {} {}\n", hex(client_random), hex(secret)));
    }
}

/// Answers requests, each with so many octets, and waits for the client's goodbye.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, answers: &[usize]) -> Result<TcpStream> {
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    answers.iter().try_for_each(|octets| answer(&mut stream, *octets))?;
    let left = std::io::Read::read_to_end(&mut stream, &mut Vec::new()).context("waiting for close_notify")?;
    anyhow::ensure!(left == 0, "the client sent {left} octets more than its request");
    Ok(stream.sock)
}

/// What both ends need for one version of TLS: a key, and a certificate that the client trusts.
pub fn configurations(
    version: &'static SupportedProtocolVersion,
    certificate: CertificateParams,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>)> {
    let made = KeyPair::generate().context("making a key")?;
    let certificate = certificate.self_signed(&made).context("making a certificate")?.der().clone();
    let key = PrivateKeyDer::try_from(made.serialize_der()).map_err(|e| anyhow!("the new key: {e}"))?;
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok((Arc::new(server), Arc::new(client)))
}
