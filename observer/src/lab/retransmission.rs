//! Random loss, and how both ends make up for it.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::Fault;
use super::network::traffic::{bulk, close};
use super::network::wire::Wire;
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "retransmission",
    about: "Both ends send 40 kB over a wire that loses 8% of the frames; all of it arrives.",
    play,
    thresholds: &[],
    findings: &["packet-loss"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "has t"),
            ("unique_bytes.client", "40000"),
            ("unique_bytes.server", "40000"),
            ("bytes.client", ">= 41448"),
            ("bytes.server", ">= 40000"),
            ("analysis.duplicate_ack.client", ">= 1"),
            ("analysis.duplicate_ack.server", ">= 1"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let wire = Wire::new(Duration::from_millis(5)).with_fault(Fault::random_loss(8, 5));
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(5001)?)?;
    let here = client.connect(server.at(5001)?)?;
    let there = listener.accept()?;
    bulk(&here, &there, 40_000)?;
    bulk(&there, &here, 40_000)?;
    close(here, there)
}
