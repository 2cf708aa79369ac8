//! One segment is lost in the middle of a burst.

use std::time::Duration;

use anyhow::Result;

use super::network::Network;
use super::network::fault::{Fate, Fault};
use super::network::traffic::{bulk, close};
use super::network::wire::{End, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "fast-retransmission",
    about: "The client's third data segment is lost; duplicate ACKs ask for it, and it is sent again at once.",
    play,
    seen: &[Seen {
        server_port: 5001,
        connections: 1,
        must: Conditions(&[
            ("conn_state", "SF"),
            ("unique_bytes.client", "14000"),
            ("bytes.client", "15448"),
            ("analysis.fast_retransmission.client", "1"),
            // Every fast retransmission is a retransmission.
            ("analysis.retransmission.client", "1"),
            ("analysis.duplicate_ack.server", ">= 3"),
        ]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    let loss = Fault::on_data("the client's third data segment is lost", End::Near, &[3], Fate::Drop);
    let [client, server] = network.pair(Wire::new(Duration::from_millis(5)).with_fault(loss))?;
    // A window that does not grow: duplicate ACKs are told from window updates by it.
    let listener = server.listen_with(server.at(5001)?, |socket| socket.set_recv_buffer_size(65_536))?;
    let here = client.connect(server.at(5001)?)?;
    let there = listener.accept()?;
    bulk(&here, &there, 14_000)?;
    close(here, there)
}
