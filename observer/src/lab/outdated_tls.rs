//! A server that knows nothing newer than TLS 1.0 (RFC 2246; RFC 8996 forbids it).

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::close;
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "outdated-tls",
    about: "Client and server say hello and agree on TLS 1.0, with an RSA key exchange and CBC. Nothing more is said.",
    play,
    thresholds: &[],
    findings: &["outdated-tls"],
    seen: &[Seen {
        server_port: 443,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("tls.version", "TLS 1.0"),
            ("tls.cipher", "TLS_RSA_WITH_AES_128_CBC_SHA"),
        ]),
    }],
};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const TLS_RSA_WITH_AES_128_CBC_SHA: [u8; 2] = [0x00, 0x2f];

fn play(network: &mut Network) -> Result<()> {
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)))?;
    let listener = server.listen(server.at(443)?)?;
    let mut here = client.connect(server.at(443)?)?;
    let mut there = listener.accept()?;
    let [low, high] = TLS_RSA_WITH_AES_128_CBC_SHA;
    // A list of ciphers, and one of compressions: none.
    let asked = hello(CLIENT_HELLO, &[0, 2, low, high, 1, 0]);
    here.write_all(&asked)?;
    there.read_exact(&mut vec![0; asked.len()])?;
    let chosen = hello(SERVER_HELLO, &[low, high, 0]);
    there.write_all(&chosen)?;
    here.read_exact(&mut vec![0; chosen.len()])?;
    close(here, there)
}

/// A hello of TLS 1.0 without a session: the record's header, the handshake's, version, random, and what follows.
fn hello(kind: u8, rest: &[u8]) -> Vec<u8> {
    const HANDSHAKE: u8 = 22;
    const TLS_1_0: [u8; 2] = [3, 1];
    const RANDOM: [u8; 32] = [7; 32];
    const NO_SESSION: [u8; 1] = [0];
    let body = [&TLS_1_0[..], &RANDOM, &NO_SESSION, rest].concat();
    let length = body.len() as u16;
    let [[high, low], [outer_high, outer_low]] = [length, length + 4].map(u16::to_be_bytes);
    [&[HANDSHAKE, 3, 1, outer_high, outer_low, kind, 0, high, low], &body[..]].concat()
}
