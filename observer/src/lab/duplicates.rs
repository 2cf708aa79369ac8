//! Every packet captured twice.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::traffic::{close, http};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "duplicates",
    about: "A client asks for a page; captured at both ends of the wire into one file, as `-i any` on a bridge does, \
            so that every packet stands in it twice.",
    play,
    thresholds: &[],
    findings: &[],
    seen: &[Seen {
        server_port: 80,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("history", "ShADadFf"),
            ("duplicates", ">= 10"),
            ("bytes.client", "75"),
            ("bytes.server", "2067"),
            ("analysis.retransmission.client", "0"),
            ("analysis.retransmission.server", "0"),
            ("analysis.spurious_retransmission.server", "0"),
            ("analysis.duplicate_ack.client", "0"),
            ("analysis.out_of_order.server", "0"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let wire = Wire::new(Duration::from_millis(1)).captured_at(&[End::Near, End::Far]);
    let [client, server] = network.pair(wire)?;
    let listener = server.listen(server.at(80)?)?;
    let mut here = client.connect(server.at(80)?)?;
    let mut there = listener.accept()?;
    http(&mut here, &mut there, "/", 2000)?;
    close(here, there)
}
