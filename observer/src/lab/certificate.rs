//! Certificates that are no good: too old, too young, somebody else's.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, version};

use super::https::{NAME, configurations};
use super::network::Network;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const EXPIRED: Scenario = Scenario {
    name: "certificate-expired",
    about: "The server's certificate expired years ago; the client ends the TLS 1.2 handshake with an alert.",
    play: |network| play(network, NAME, [2020, 2021]),
    thresholds: &[],
    findings: &["certificate-expired", "tls-alert"],
    seen: SEEN,
};

pub const NOT_YET_VALID: Scenario = Scenario {
    name: "certificate-not-yet-valid",
    about: "The server's certificate begins in many years, as to a clock that is wrong; the client ends the TLS 1.2 \
            handshake with an alert.",
    play: |network| play(network, NAME, [2090, 2091]),
    thresholds: &[],
    findings: &["certificate-not-yet-valid", "tls-alert"],
    seen: SEEN,
};

pub const OTHER_NAME: Scenario = Scenario {
    name: "certificate-other-name",
    about: "The server's certificate is for another name than the client asks for; the client ends the TLS 1.2 handshake \
            with an alert.",
    play: |network| play(network, "other.lab", [2020, 2090]),
    thresholds: &[],
    findings: &["certificate-other-name", "tls-alert"],
    seen: SEEN,
};

const SEEN: &[Seen] = &[Seen {
    server_port: 443,
    connections: 1,
    must: Conditions(&[("tls.version", "TLS 1.2"), ("tls.established", "false"), ("conn_state", "SF | RSTO | RSTR")]),
}];

fn play(network: &mut Network, name: &str, [first, last]: [i32; 2]) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).context("naming the certificate")?;
    parameters.not_before = rcgen::date_time_ymd(first, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(last, 1, 1);
    let (server_config, client_config) = configurations(&version::TLS12, parameters)?;
    let listener = server.listen(server.at(443)?)?;
    let mut here = client.connect(server.at(443)?)?;
    let mut there = listener.accept()?;
    thread::scope(|scope| {
        let serving = scope.spawn(move || {
            let mut tls = ServerConnection::new(server_config)?;
            let failed = tls.complete_io(&mut there).is_err();
            ensure!(failed, "the client took the certificate");
            Ok::<TcpStream, anyhow::Error>(there)
        });
        let mut tls = ClientConnection::new(Arc::clone(&client_config), ServerName::try_from(NAME)?)?;
        ensure!(tls.complete_io(&mut here).is_err(), "the client took the certificate");
        // The alert still has to be sent.
        tls.write_tls(&mut here).context("sending the alert")?;
        let there = serving.join().map_err(|_| anyhow!("the server panicked"))??;
        super::network::traffic::close(here, there)
    })
}
