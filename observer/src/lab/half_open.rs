//! A handshake that the client completes in vain.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::Fault;
use super::network::sighting::Sighting;
use super::network::traffic::abort;
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "half-open",
    about: "The client's SYN comes through, and nothing after it: the server sends its SYN-ACK again and again.",
    play,
    thresholds: &[],
    findings: &["half-open"],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "S1"),
            ("packets.client", "1"),
            ("handshake.ack", "null"),
            ("handshake.syn_ack_retransmissions", "1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let asked = Sighting::new();
    let firewall = Fault::loses("a firewall lets the client's SYN through, and nothing else of it", |passing| {
        passing.from == End::Near && passing.tcp.is_some_and(|tcp| !tcp.flags.is_bare_syn())
    });
    let wire = Wire::new(Duration::from_millis(5))
        .captured_at(&[End::Far])
        .with_fault(firewall)
        .watched(&asked, |passing| passing.from == End::Far && passing.tcp.is_some_and(|tcp| tcp.flags.is_syn_ack()));
    let [client, server] = network.pair(wire)?;
    let _listener = server.listen(server.at(80)?)?;
    let here = client.connect(server.at(80)?)?;
    asked.wait_for(2)?;
    network.stop_capture();
    abort(here)
}
