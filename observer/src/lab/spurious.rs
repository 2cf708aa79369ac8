//! Acknowledgments that are lost: what had arrived is sent again.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::Fault;
use super::network::sighting::Sighting;
use super::network::traffic::{close, text};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "spurious-retransmission",
    about: "The server has each of four messages and says so, but its first ACK of each is lost: the client sends them \
            again, and the server tells it that it has had them (DSACK).",
    play,
    thresholds: &[],
    findings: &["spurious-retransmission"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "4000"),
            ("analysis.spurious_retransmission.client", "4"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    const MESSAGES: usize = 4;
    const OCTETS: usize = 1000;
    let acknowledged = Sighting::new();
    let (mut seen, mut repeated) = (None, None);
    let wire = Wire::new(Duration::from_millis(5))
        .captured_at(&[End::Far])
        .with_fault(Fault::loses("the server's first ACK of each message is lost", move |passing| {
            let tcp = passing.tcp.filter(|tcp| passing.from == End::Far && !tcp.flags.syn_fin_rst());
            tcp.is_some_and(|tcp| seen.replace(tcp.ack) != Some(tcp.ack))
        }))
        .watched(&acknowledged, move |passing| {
            let tcp = passing.tcp.filter(|tcp| passing.from == End::Far && !tcp.flags.syn_fin_rst());
            tcp.is_some_and(|tcp| repeated.replace(tcp.ack) == Some(tcp.ack))
        });
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(5001)?)?;
    let mut here = client.connect(server.at(5001)?)?;
    let mut there = listener.accept()?;
    for message in 1..=MESSAGES {
        here.write_all(&text(OCTETS))?;
        there.read_exact(&mut [0; OCTETS])?;
        acknowledged.wait_for(message)?;
    }
    close(here, there)
}
