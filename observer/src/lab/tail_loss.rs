//! The last segment of a burst is lost: no duplicate ACK can ask for it.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::{Fate, Fault};
use super::network::traffic::{bulk, close};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "tail-loss",
    about: "The last of the client's ten data segments is lost; a tail loss probe sends it again.",
    play,
    thresholds: &[],
    findings: &["tail-loss"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "14480"),
            ("bytes.client", "15928"),
            ("analysis.retransmission.client", "1"),
            ("analysis.fast_retransmission.client", "0"),
            ("analysis.duplicate_ack.server", "0"),
            ("retransmissions.client.tail_loss_probe", "1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let loss = Fault::on_data("the client's tenth data segment is lost", End::Near, &[10], Fate::Drop);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(20)).with_fault(loss))?;
    let listener = server.listen(server.at(5001)?)?;
    let here = client.connect(server.at(5001)?)?;
    let there = listener.accept()?;
    // Ten full segments: 1460 octets less 12 of timestamps each.
    bulk(&here, &there, 14_480)?;
    close(here, there)
}
