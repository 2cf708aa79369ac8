//! Segments that others overtake.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::{Fate, Fault};
use super::network::traffic::{bulk, close};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "reordering",
    about: "The server sends 30 kB; five of its segments take a longer way, and the next two overtake each.",
    play,
    thresholds: &[],
    findings: &["reordering"],
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.server", "30000"),
            ("bytes.server", "30000"),
            ("analysis.out_of_order.server", "5"),
            ("analysis.lost_segment.server", "5"),
            ("analysis.retransmission.server", "0"),
            ("analysis.duplicate_ack.client", ">= 3"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let detour = Fault::on_data(
        "the server's data segments 2, 6, 12, 15 and 18 are overtaken by the next two",
        End::Far,
        &[2, 6, 12, 15, 18],
        Fate::Overtaken(2),
    );
    let [client, server] = network.pair(Wire::new(Duration::from_millis(10)).with_fault(detour))?;
    let listener = server.listen(server.at(5001)?)?;
    let here = client.connect(server.at(5001)?)?;
    let there = listener.accept()?;
    bulk(&there, &here, 30_000)?;
    close(here, there)
}
